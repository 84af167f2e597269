// imapflow at its work, as webmail back ends use it: mailbox locks, fetch, download, flags, move, idle.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import assert from 'node:assert';

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const { ImapFlow } = require('imapflow');
const env = process.env;
const tls = env.TLS === 'yes';

const client = new ImapFlow({
    host: env.HOST,
    port: Number(tls ? env.IMAPS : env.IMAP),
    secure: tls,
    doSTARTTLS: tls ? undefined : false,
    tls: tls ? { ca: readFileSync(env.CA) } : undefined,
    auth: { user: env.USER, pass: env.PASSWORD },
    logger: false,
});
await client.connect();
const lock = await client.getMailboxLock('INBOX');
try {
    assert.equal(client.mailbox.exists, 10);
    let count = 0;
    for await (const message of client.fetch('1:*', { uid: true, envelope: true, flags: true, bodyStructure: true, source: true, size: true })) {
        count += 1;
        assert.equal(message.envelope.subject, `message ${count}`);
        assert.equal(message.source.length, message.size);
    }
    assert.equal(count, 10);
    assert.deepEqual(await client.search({ subject: 'message 4' }, { uid: true }), [4]);
    await client.messageFlagsAdd('1:3', ['\\Seen'], { uid: true });
    assert.deepEqual(await client.search({ seen: true }, { uid: true }), [1, 2, 3]);
    await client.mailboxCreate(['Projekte', 'Größe']);
    const moved = await client.messageMove('1:2', 'Projekte/Größe', { uid: true });
    assert.equal(moved.uidMap.size, 2);
    const appended = await client.append('INBOX', 'Subject: by imapflow\r\n\r\ntext\r\n', ['\\Flagged']);
    assert.equal(appended.uid, 11);
    const { content } = await client.download('11', undefined, { uid: true });
    let text = '';
    for await (const chunk of content) text += chunk;
    assert.ok(text.includes('by imapflow'));
    await client.messageDelete('3', { uid: true });
    const status = await client.status('INBOX', { messages: true, uidNext: true });
    assert.deepEqual([status.messages, status.uidNext], [8, 12]);
    const names = (await client.list()).map(mailbox => mailbox.path);
    assert.ok(names.includes('Projekte/Größe'), names.join());
    const quota = await client.getQuota('INBOX');
    assert.ok(quota === false || quota.path === 'INBOX');
} finally {
    lock.release();
}
await client.logout();
console.log('done');
