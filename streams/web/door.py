"""Stands before every request: lets in who may come in, and says to the others why not."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict

from ..bodies import read_body
from ..guesses import TOO_MANY, Guesses, Rate
from ..listening import is_from_here
from .access import SESSION_SECONDS, Guard, Places

COOKIE = "keepsight"
MOST_REQUESTS = 256
"""Requests that may be open at once, viewers included."""
MOST_LOGINS, MOST_LOGINS_EACH = 32, 4
"""Strangers who may be saying the password at once: all, and those of one address. They wait for what they
have not sent yet, and users shall find room beside them."""
LOGIN_SECONDS = 5.0
"""How long a stranger may take to say the password."""
MOST_PASSWORD = 1024
OPEN = frozenset({"/", "/favicon.ico", "/api/login", "/api/openapi.json"})
"""What strangers may ask for, beside what lies under /static/: nothing of it says anything of a camera."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; frame-ancestors 'self'; base-uri 'none'; "
        "form-action 'self'; object-src 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Objection = tuple[int, str]
"""HTTP status and reason."""


class LoginMessage(BaseModel):
    """What opens a session."""

    model_config = ConfigDict(extra="forbid")

    password: str


class Door:
    """The middleware, the answers to `/api/login` and `/api/logout`, and the headers of every answer."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._guesses = Guesses()
        self._calls = Rate(burst=40, per_second=10)
        self._logins = Places(MOST_LOGINS_EACH, MOST_LOGINS)
        self._open = 0

    def add_to(self, application: web.Application) -> None:
        application.middlewares.append(self._pass)
        application.on_response_prepare.append(_add_headers)
        application.router.add_post("/api/login", self._login)
        application.router.add_post("/api/logout", self._logout)

    @web.middleware
    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if objection := self._objection(request):
            return _refused(*objection)
        self._open += 1
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _refused(413, "the message is too long")
        finally:
            self._open -= 1

    def _objection(self, request: web.Request) -> Objection | None:
        """Why a request goes no further; None where it may."""
        headers = request.headers
        is_open = request.path in OPEN or request.path.startswith("/static/")
        is_call = request.method not in ("GET", "HEAD") or "Upgrade" in headers
        site = headers.get("Sec-Fetch-Site") if is_call or not is_open else None
        if not is_from_here(headers.get("Host", ""), headers.get("Origin"), site):
            return 403, "asked by a page of another site"
        if self._open >= MOST_REQUESTS:
            return 503, f"{MOST_REQUESTS} requests are open already"
        if objection := None if is_open and self._guard.has_password else self._stranger(request):
            return objection
        if is_call and not self._calls.allows(_address(request), time.monotonic()):
            return 429, "too many requests: wait a second"
        return None

    def _stranger(self, request: web.Request) -> Objection | None:
        """Why who asks is not let in; None where they are."""
        host = request.headers.get("Host", "")
        authorization = request.headers.get("Authorization", "")
        if authorization and not self._may_guess(request):
            return 429, TOO_MANY
        if self._guard.admits(host, request.cookies.get(COOKIE, ""), authorization):
            return None
        if not self._guard.has_password:
            return 403, "without a password this page is only for this machine: http://localhost"
        if authorization:
            self._guesses.was_wrong(_address(request))
        return 401, "the password is missing or wrong"

    async def _login(self, request: web.Request) -> web.Response:
        with self._logins.place(_address(request)) as has_room:
            if not has_room:
                return _refused(503, "too many are logging in: try again in some seconds")
            return await self._log_in(request)

    async def _log_in(self, request: web.Request) -> web.Response:
        if not self._may_guess(request):
            return _refused(429, TOO_MANY)
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                body = await read_body(request.content, MOST_PASSWORD)
            said = LoginMessage.model_validate_json(body or b"{}")
        except TimeoutError:
            return _refused(408, f"the password did not come within {LOGIN_SECONDS:g} s")
        except ValueError:
            return _refused(422, 'say {"password": "…"}')
        if not self._may_guess(request):  # others may have guessed while this one was on its way
            return _refused(429, TOO_MANY)
        if not self._guard.knows(said.password):
            self._guesses.was_wrong(_address(request))
            return _refused(401, "the password is wrong")
        return self._let_in(request)

    def _may_guess(self, request: web.Request) -> bool:
        return self._guesses.may_guess(_address(request))

    def _let_in(self, request: web.Request) -> web.Response:
        response = web.json_response({})
        response.set_cookie(
            COOKIE,
            self._guard.open_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
        )
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        response = web.json_response({})
        response.del_cookie(COOKIE)
        return response


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)


def _address(request: web.Request) -> str:
    return request.remote or ""


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if not request.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "no-store")
