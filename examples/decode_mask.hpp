// A mask from an MQTT message or a results file, in C++11: COCO's compressed run-length encoding, as
// examples/decode_mask.py explains it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

// height * width bytes, row by row, 1 on the object. Throws std::invalid_argument where counts do not fill that.
inline std::vector<std::uint8_t> decode_mask(std::size_t height, std::size_t width, const std::string& counts) {
  std::vector<std::int64_t> runs;
  std::int64_t value = 0;
  int shift = 0;
  for (const char character : counts) {
    const int group = character - 48;
    if (group < 0 || group > 63 || shift > 55) throw std::invalid_argument("no mask");
    value |= static_cast<std::int64_t>(group & 0x1f) << shift;
    shift += 5;
    if (group & 0x20) continue;                                        // more follow
    if (group & 0x10) value -= static_cast<std::int64_t>(1) << shift;  // negative
    runs.push_back(runs.size() > 2 ? value + runs[runs.size() - 2] : value);
    value = 0;
    shift = 0;
  }
  std::vector<std::uint8_t> mask(height * width, 0);
  std::size_t at = 0;
  for (std::size_t number = 0; number < runs.size(); ++number) {
    if (runs[number] < 0 || static_cast<std::uint64_t>(runs[number]) > mask.size() - at)
      throw std::invalid_argument("no mask");
    for (const std::size_t end = at + static_cast<std::size_t>(runs[number]); at < end; ++at)
      mask[(at % height) * width + at / height] = number % 2;  // down the columns
  }
  if (at != mask.size()) throw std::invalid_argument("no mask");
  return mask;
}
