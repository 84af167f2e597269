"""Thunderbird without a screen, for as long as $WORK/stop is not there: keeps INBOX with all bodies, and has what came marked as
read. It is driven by Marionette, its remote protocol: https://firefox-source-docs.mozilla.org/testing/marionette/. What it has goes
to $WORK/seen, a subject a line. Whatever it would show its user as an error ends it.

2026-11-23: 153 ESR looks for new mail in IDLE and by its second connection, downloads bodies by itself a while later, and takes
`localhost` for the IPv4 address."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

PORT = 2828
STARTS_WITHIN = 60
ENDS_WITHIN = 40  # after the last message or body that came
folder = os.environ["WORK"]

PREFERENCES = f"""
user_pref("marionette.port", {PORT});
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("app.update.auto", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
"""

IMPORT = 'const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");'

# What a user would be shown is kept; then the account is made, as its assistant makes one.
BEGIN = """
globalThis.shown = [];
MailServices.mailSession.addUserFeedbackListener({
    onAlert(text) { globalThis.shown.push(text); return true; },
    onCertError() { globalThis.shown.push("certificate"); },
    QueryInterface: ChromeUtils.generateQI(["nsIMsgUserFeedbackListener"]),
});
MailServices.mailSession.alertUser("an error", null, true);
if (globalThis.shown.pop() !== "an error") throw new Error("errors are not seen");
const [port, user, password] = arguments;
const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
login.init("imap://localhost", null, "imap://localhost", user, password, "", "");
await Services.logins.addLoginAsync(login);
const server = MailServices.accounts.createIncomingServer(user, "localhost", "imap");
Object.assign(server, { port: Number(port), socketType: 0, authMethod: 3, doBiff: true, biffMinutes: 1 });
const account = MailServices.accounts.createAccount();
account.incomingServer = server;
server.performBiff(null);
"""

LOOK = """
const server = MailServices.accounts.accounts[0].incomingServer;
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const messages = [...inbox.messages];
const unread = messages.filter(message => !message.isRead);
if (unread.length) inbox.markMessagesRead(unread, true);
const isHere = message => Boolean(message.flags & Ci.nsMsgMessageFlags.Offline);
return { subjects: messages.map(message => message.subject), bodies: messages.filter(isHere).length, unread: unread.length, shown: globalThis.shown };
"""

# What a user does who wants everything at hand.
ASK = """
const NS_MSG_FOLDER_BUSY = 0x8055000a;
const server = MailServices.accounts.accounts[0].incomingServer;
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
inbox.getNewMessages(null, null);
try {
    inbox.downloadAllForOffline(null, null);
} catch (error) {
    // It downloads already, by itself or since it was asked last.
    if (error.result !== NS_MSG_FOLDER_BUSY) throw error;
}
"""


class Marionette:
    """A message is its length, a colon and JSON."""

    def __init__(self):
        begun = time.monotonic()
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", PORT), 5)
                break
            except OSError:
                assert time.monotonic() - begun < STARTS_WITHIN, "Thunderbird does not start"
                time.sleep(0.2)
        self.socket.settimeout(60)
        self.file, self.number = self.socket.makefile("rb"), 0
        self.read()
        self.call("WebDriver:NewSession", {"capabilities": {}})
        self.call("Marionette:SetContext", {"value": "chrome"})

    def read(self):
        length = b""
        while (byte := self.file.read(1)) != b":":
            assert byte, "Thunderbird is gone"
            length += byte
        return json.loads(self.file.read(int(length)))

    def call(self, name, arguments):
        self.number += 1
        octets = json.dumps([0, self.number, name, arguments]).encode()
        self.socket.sendall(b"%d:%s" % (len(octets), octets))
        _, _, error, result = self.read()
        assert not error, error
        return result

    def run(self, script, *arguments):
        promise = f"(async function () {{ {IMPORT} {script} }}).apply(null, arguments)"
        script = f"const done = arguments[arguments.length - 1]; {promise}.then(value => done({{ value }}), error => done({{ error: String(error) }}));"
        result = self.call("WebDriver:ExecuteAsyncScript", {"script": script, "args": list(arguments)})["value"]
        assert "error" not in result, result
        return result.get("value")


# So that Thunderbird ends with this script, whatever ends it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
profile = f"{folder}/profile"
os.mkdir(profile)
with open(f"{profile}/user.js", "w", encoding="utf-8") as file:
    file.write(PREFERENCES)
command = ["thunderbird", "--headless", "--no-remote", "--marionette", "--remote-allow-system-access", "--profile", profile]
with open(f"{folder}/thunderbird", "wb") as log:
    thunderbird = subprocess.Popen(command, env=os.environ | {"HOME": folder}, stdout=log, stderr=log)
try:
    marionette = Marionette()
    marionette.run(BEGIN, os.environ["IMAP"], os.environ["USER"], os.environ["PASSWORD"])
    looked = {}

    def look():
        looked.update(marionette.run(LOOK))
        assert not looked["shown"], looked["shown"]

    while not os.path.exists(f"{folder}/stop"):
        time.sleep(0.5)
        look()
    progressed, before = time.monotonic(), None
    while time.monotonic() - progressed < ENDS_WITHIN:
        marionette.run(ASK)
        time.sleep(2)
        look()
        complete = looked["bodies"] == len(looked["subjects"]) and not looked["unread"]
        if complete and before == looked:
            break
        if before != looked:
            progressed = time.monotonic()
        before = dict(looked)
    assert looked["bodies"] == len(looked["subjects"]), (looked["bodies"], len(looked["subjects"]))
finally:
    thunderbird.kill()
    thunderbird.wait()
with open(f"{folder}/seen", "w", encoding="utf-8") as file:
    file.writelines(f"{subject}\n" for subject in looked["subjects"])
