"""An SMTP server for one test. Prints a line of JSON for each mail that it took.

Arguments: the port, and a JSON object of options:
  refuse   addresses that get 550
  busy     how many mails get 451 first
  repeat   whether a mail gets 554 with its token
  delay    seconds before the answer to a mail
  tls      certificate and key; STARTTLS is required
  auth     user name and password, which are required
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, options = int(sys.argv[1]), json.loads(sys.argv[2])


class Handler:
    busy = options.get("busy", 0)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in options.get("refuse", []):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.busy > 0:
            self.busy -= 1
            return "451 4.3.2 try again later"
        if options.get("repeat"):
            lines = envelope.content.decode("utf-8", "replace").splitlines()
            body = lines[lines.index("") :]
            token = next(line for line in body if len(line) == 64 and " " not in line)
            return f"554 5.7.1 disliked: {token}"
        await asyncio.sleep(options.get("delay", 0))
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode("utf-8", "replace"),
            "encrypted": session.ssl is not None,
            "authenticated": bool(session.authenticated),
        }
        print(json.dumps(mail), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, auth_data):
    fits = isinstance(auth_data, LoginPassword) and [
        auth_data.login.decode(),
        auth_data.password.decode(),
    ] == options["auth"]
    return AuthResult(success=fits, handled=False)


settings = {}
if "tls" in options:
    settings["tls_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings["tls_context"].load_cert_chain(*options["tls"])
    settings["require_starttls"] = True
if "auth" in options:
    settings["authenticator"] = authenticate
    settings["auth_required"] = True

controller = Controller(Handler(), hostname="127.0.0.1", port=port, **settings)
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
