// imapflow in one session for as long as $WORK/stop is not there: reads what comes, marks it, files copies, waits in IDLE.
// What it has read goes to $WORK/seen, what it has filed to $WORK/filed, a subject a line. Whatever goes wrong ends it with 1.
import { createRequire } from 'node:module';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import assert from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const { ImapFlow } = require('imapflow');
const env = process.env;

let isOver = false;
const fail = what => {
    console.error(what);
    process.exit(1);
};
const client = new ImapFlow({
    host: env.HOST,
    port: Number(env.IMAPS),
    secure: true,
    tls: { ca: readFileSync(env.CA) },
    auth: { user: env.USER, pass: env.PASSWORD },
    logger: false,
});
client.on('error', fail);
client.on('close', () => isOver || fail('the connection was closed'));
await client.connect();
const lock = await client.getMailboxLock('INBOX');
let next = 1;
const [seen, filed] = [[], []];

async function take() {
    const uids = [];
    for await (const message of client.fetch(`${next}:*`, { uid: true, envelope: true, flags: true, size: true, source: true }, { uid: true })) {
        // `*` is the last message, also where `next` is above it.
        if (message.uid < next) continue;
        assert.equal(message.source.length, message.size);
        uids.push(message.uid);
        seen.push(message.envelope.subject);
    }
    if (uids.length === 0) return;
    next = Math.max(...uids) + 1;
    assert.equal(await client.messageFlagsAdd(uids, ['\\Seen'], { uid: true }), true);
    const subject = `filed ${filed.length}`;
    const appended = await client.append('Sent', `Subject: ${subject}\r\n\r\n${subject}\r\n`, ['\\Seen']);
    assert.ok(appended.uid > 0);
    filed.push(subject);
}

while (!existsSync(`${env.WORK}/stop`)) {
    await take();
    // The next command ends it.
    client.idle().catch(fail);
    await sleep(300);
}
await take();
const unseen = await client.search({ seen: false }, { uid: true });
assert.deepEqual(unseen, []);
lock.release();
isOver = true;
await client.logout();
writeFileSync(`${env.WORK}/seen`, seen.map(subject => `${subject}\n`).join(''));
writeFileSync(`${env.WORK}/filed`, filed.map(subject => `${subject}\n`).join(''));
