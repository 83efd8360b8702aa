import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { BadReply, Enforcer, Misuse, NoDecision } from '../src/index.js';
import { permitAll, response, TARGET, wish, withPdp } from './pdp.js';

const YES = { evaluations: [{ decision: true }, { decision: true }] };

test('the request, and what is minted', async () => {
  await withPdp(async (pdp) => {
    const enforcer = new Enforcer({ url: pdp.url, token: 'secret' });
    const mint = await enforcer.ask(wish(['a', 'a'], { requestId: 'r-1', lifetime: 60 }));
    assert.deepEqual(mint, {
      kind: 'mint', scopes: ['a'], stateScope: false, audience: [TARGET], resources: [], lifetime: 60,
      authorizationDetails: [], claims: {}, crit: [], decisionIds: [],
    });
    const [request] = pdp.requests;
    assert.equal(request?.line, 'POST /access/v1/evaluations HTTP/1.1');
    assert.deepEqual([request?.headers['authorization'], request?.headers['x-request-id'], request?.headers['accept-encoding']],
      ['Bearer secret', 'r-1', 'identity']);
    assert.deepEqual(request?.body, {
      subject: { type: 'client', id: 'nightly-job' }, resource: { type: 'audience', id: TARGET },
      context: { client_id: 'nightly-job', issuance: { capabilities: ['urn:ietf:params:authzen:token-issuance'] } },
      evaluations: [{ action: { name: 'issue:access_token:client_credentials' } }, { action: { name: 'a' } }],
      options: { evaluations_semantic: 'execute_all' },
    });
    enforcer.close();
  });
});

test('what the client must not ask for is not asked', async () => {
  await withPdp(async (pdp) => {
    const enforcer = new Enforcer({ url: pdp.url }, {}, { maxTuples: 3 });
    for (const [error, asked] of /** @type {const} */ ([
      ['invalid_scope', wish(['issue:access_token:x'])], ['invalid_scope', wish(['a"'])], ['invalid_scope', wish(['ä'])], ['invalid_scope', wish([''])],
      ['invalid_target', wish(['a'], { audience: [''] })], ['invalid_request', wish(['a', 'b', 'c'])],
      ['invalid_authorization_details', wish(['a'], { authorizationDetails: [/** @type {any} */ ({})] })],
    ])) {
      const answer = await enforcer.ask(asked);
      assert.equal(answer.kind === 'refusal' && answer.error, error);
    }
    assert.equal(pdp.requests.length, 0);
  });
});

test('what the server must not ask', async () => {
  const enforcer = new Enforcer({ url: 'http://127.0.0.1:9' });
  for (const members of [
    { defaultScope: ['a'] }, { audience: [] }, { audience: TARGET }, { scopes: 'a' }, { grantType: 'urn:x' }, { lifetime: 0 }, { lifetime: 1.5 },
    { subject: { type: 'user', id: '' } }, { subject: undefined }, { exchange: {} }, { grantType: 'token_exchange' }, { requestId: 'a b' },
    { cnf: { a: () => 1 } }, { cnf: { a: NaN } }, { cnf: { a: 1n } }, { defaultScopes: ['issue:x'] }, { endpoint: 'device' },
  ]) {
    await assert.rejects(enforcer.ask(/** @type {any} */ ({ ...wish(['a']), ...members })), Misuse, JSON.stringify(Object.keys(members)));
  }
  for (const pdp of [
    {}, { url: 'http://pdp.example' }, { url: 'ftp://127.0.0.1' }, { url: 'x' }, { url: 'https://u:p@pdp.example' }, { url: 'http://127.0.0.1.evil.example' },
    { url: 'https://x', deadlineMs: 0 }, { url: 'https://x', token: 'a\nb' }, { evaluationUrl: 'https://x' },
  ]) assert.throws(() => new Enforcer(pdp), Misuse, JSON.stringify(pdp));
  new Enforcer({ url: 'http://[::1]:1' });
});

test('what is no whole, timely answer is no decision', async () => {
  /** @type {[string, 'temporarily_unavailable' | 'server_error', import('./pdp.js').Answer][]} */
  const cases = [
    ...[408, 429, 500, 502, 503, 504].map((status) => /** @type {any} */ ([`${status}`, 'temporarily_unavailable', () => response(YES, { status })])),
    ...[201, 204, 301, 302, 307, 400, 401, 403, 404].map((status) =>
      /** @type {any} */ ([`${status}`, 'server_error', () => response(YES, { status, headers: { Location: 'http://127.0.0.1:9/' } })])),
    ['another type', 'server_error', () => response(YES, { headers: { 'Content-Type': 'text/html' } })],
    ['compressed', 'server_error', () => response(gzipSync(JSON.stringify(YES)), { headers: { 'Content-Encoding': 'gzip' } })],
    ['of another request', 'server_error', () => response(YES, { headers: { 'X-Request-ID': 'other' } })],
    ['too large', 'server_error', () => response(`${JSON.stringify(YES)}${' '.repeat(4000)}`)],
    ['too large, without an end', 'server_error', async function* endless() {
      yield 'HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
      for (;;) { yield '3e8\r\n' + ' '.repeat(1000) + '\r\n'; await pause(1); }
    }],
    ['broken off', 'temporarily_unavailable', async function* broken() { yield response(YES).subarray(0, -3); }],
    ['no HTTP', 'temporarily_unavailable', async function* none() { yield 'hello\r\n\r\n'; }],
    ['two lengths', 'temporarily_unavailable', () => 'HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}'],
    ['silent', 'temporarily_unavailable', async function* silent() { await pause(1000); yield ''; }],
    ['a byte at a time', 'temporarily_unavailable', async function* drip() {
      for (const byte of response(YES)) { yield Buffer.from([byte]); await pause(20); }
    }],
  ];
  await withPdp(async (pdp) => {
    const enforcer = new Enforcer({ url: pdp.url, deadlineMs: 400, maxReplyBytes: 3000 });
    assert.equal((await enforcer.ask(wish(['a']))).kind, 'mint');
    for (const [name, error, answer] of cases) {
      pdp.answer = answer;
      const began = performance.now();
      await assert.rejects(enforcer.ask(wish(['a'])), (/** @type {any} */ fault) => fault instanceof NoDecision && fault.error === error, name);
      assert.ok(performance.now() - began < 1000, name);
    }
    pdp.answer = permitAll;
    assert.equal((await enforcer.ask(wish(['a']))).kind, 'mint');
    enforcer.close();
  });
});

test('nobody listens, or a proxy is named', async () => {
  const server = createServer();
  await new Promise((done) => { server.listen(0, '127.0.0.1', () => done(undefined)); });
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  await new Promise((done) => { server.close(() => done(undefined)); });
  await assert.rejects(new Enforcer({ url: `http://127.0.0.1:${port}` }).ask(wish(['a'])), NoDecision);
  await withPdp(async (pdp) => {
    Object.assign(process.env, { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' });
    assert.equal((await new Enforcer({ url: pdp.url }).ask(wish(['a']))).kind, 'mint');
  });
});

test('a reply that is no decision on what was asked', async () => {
  const yes = { decision: true };
  /** @param {unknown} issuance */
  const shaped = (issuance) => ({ evaluations: [{ decision: true, context: { issuance } }, yes] });
  const replies = [
    null, [], true, '{}', {}, { evaluations: null }, { evaluations: { 0: yes, 1: yes } }, { evaluations: [] }, { evaluations: [yes] },
    { evaluations: [yes, yes, yes] }, { evaluations: [yes, true] }, { evaluations: [yes, {}] }, { evaluations: [yes, { decision: 1 }] },
    { evaluations: [yes, { decision: 'true' }] }, { evaluations: [yes, yes], decision: false }, { evaluations: [yes, yes], decision: null },
    { evaluations: [yes, { decision: true, context: null }] }, { evaluations: [yes, { decision: true, context: [] }] }, yes,
    '{"evaluations":[{"decision":false,"decision":true},{"decision":true}]}', '{"evaluations":[{"__proto__":{"decision":true}},{"decision":true}]}',
    ...[-1, 1.5, '60', true, null, [60]].map((value) => shaped({ token_lifetime: value })),
    ...[['a'], null, ' ', 'a  b', 'a ', 'ü'].map((value) => shaped({ granted_scope: value })),
    ...['x', null, [1], [''], { x: 1 }].map((value) => shaped({ audience: value })),
    ...[{}, null, ['x'], [{}], [{ type: 1 }]].map((value) => shaped({ authorization_details: value })),
    ...[[], null, 'x'].map((value) => shaped({ claims: value })), ...['x', [1], ['']].map((value) => shaped({ crit: value })),
    ...['max_uses', '', 'scope', 'toString', 'constructor'].map((name) => shaped({ [name]: 1 })), shaped(null), shaped([]),
  ];
  await withPdp(async (pdp) => {
    const enforcer = new Enforcer({ url: pdp.url });
    for (const reply of replies) {
      pdp.answer = () => response(reply);
      await assert.rejects(enforcer.ask(wish(['a'])), BadReply, JSON.stringify(reply));
    }
    for (const reply of [{ evaluations: [yes] }, { decision: true, evaluations: [yes] }]) {
      pdp.answer = () => response(reply);
      await assert.rejects(enforcer.ask(wish([])), BadReply);
    }
  });
});

test('nothing that a PDP wrote is told to the client', async () => {
  await withPdp(async (pdp) => {
    const enforcer = new Enforcer({ url: pdp.url }, { claims: ['cap'] });
    /** @type {[string, unknown][]} */
    const cases = [
      ['access_denied', { evaluations: [{ decision: false, context: { reason_user: 'LEAK' } }, { decision: true }] }],
      ['invalid_scope', { evaluations: [{ decision: true }, { decision: false, context: { issuance_ext: { decision_id: 'LEAK' } } }] }],
      ...['sub', 'aud', 'exp', 'scope', 'cnf', 'client_id', 'iss'].map((name) => /** @type {[string, unknown]} */ (
        ['access_denied', { evaluations: [{ decision: true, context: { issuance: { claims: { [name]: 'LEAK' } } } }, { decision: true }] }])),
      ['access_denied', { evaluations: [{ decision: true, context: { issuance: { claims: { other: 1 }, crit: ['other'] } } }, { decision: true }] }],
      ['access_denied', { evaluations: [{ decision: true, context: { issuance: { crit: ['cap'] } } }, { decision: true }] }],
      ['access_denied', { evaluations: [{ decision: true, context: { issuance: { token_lifetime: 0 } } }, { decision: true }] }],
      ['access_denied', { evaluations: [{ decision: true, context: { issuance: { granted_scope: 'a LEAK' } } }, { decision: true }] }],
      ['access_denied', { evaluations: [{ decision: true, context: { issuance: { audience: ['LEAK'] } } }, { decision: true }] }],
      ['invalid_target', { evaluations: [{ decision: true, context: { issuance: { audience: [] } } }, { decision: true }] }],
      ['invalid_authorization_details', { evaluations: [{ decision: true, context: { issuance: { authorization_details: [{ type: 'LEAK' }] } } }, { decision: true }] }],
    ];
    for (const [error, reply] of cases) {
      pdp.answer = () => response(reply);
      const answer = await enforcer.ask(wish(['a']));
      assert.ok(answer.kind === 'refusal' && answer.error === error, JSON.stringify([error, answer, reply]));
      assert.ok(!`${answer.error}${answer.description}${answer.reason}`.includes('LEAK'));
    }
  });
});
