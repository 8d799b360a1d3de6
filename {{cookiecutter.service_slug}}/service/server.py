"""gunicorn, but that what keeps it from starting is one line: its options, and its sockets."""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import Any, NoReturn

from gunicorn import sock
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import Config

from service.errors import Refusal, exit_if_refused


class Server(WSGIApplication):  # type: ignore[misc]
    """gunicorn's command, which prints usage or a traceback when it does not like its options."""

    def load_default_config(self) -> None:
        self.cfg = _Config(self.usage, prog=self.prog)

    @exit_if_refused()
    def do_load_config(self) -> None:
        try:
            self.load_default_config()
            self.load_config()
            self.cfg.validate()
            _ = self.cfg.address  # which is read from the text only when it is asked for
        except Exception as error:
            raise Refusal(f"gunicorn's options (GUNICORN_CMD_ARGS): {error}") from None


class _Config(Config):  # type: ignore[misc]
    def parser(self) -> Any:
        parser = super().parser()
        parser.error = _refuse
        return parser


def _refuse(message: str) -> NoReturn:
    raise Refusal(message)


def listen(server: Any) -> None:
    """Open the sockets of gunicorn's arbiter, unless it has inherited them; raises Refusal.

    gunicorn itself would try for five seconds, with two lines each.
    """
    if server.cfg.reuse_port or {"LISTEN_FDS", "GUNICORN_FD"} & os.environ.keys():
        return
    for path in server.cfg.address:
        if isinstance(path, str):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                # gunicorn would take the path away from whoever listens there.
                if probe.connect_ex(path) in (0, errno.EAGAIN):
                    raise Refusal(f"cannot listen: {path} is in use")
    try:
        server.LISTENERS = sock.create_sockets(server.cfg, _Impatient(server.log.error_log))
    except ValueError as error:
        raise Refusal(f"cannot listen: {error}") from None


class _Impatient(logging.LoggerAdapter):  # type: ignore[type-arg]
    """The log of `create_sockets`, for which an error is not the end."""

    def error(self, msg: object, *args: object, **kwargs: Any) -> NoReturn:
        raise Refusal(f"cannot listen: {str(msg) % args}")
