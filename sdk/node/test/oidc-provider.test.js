import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { Provider } from 'oidc-provider';

import { Enforcer, Misuse } from '../src/index.js';
import { hooks, TokenRefused } from '../src/oidc-provider.js';
import { permitAll, response, withPdp } from './pdp.js';

const RESOURCE = 'https://metrics.example';
const INFO = { scope: 'a b', accessTokenTTL: 600 };

/** @param {Record<string, any>} [params] @param {Record<string, any>} [entities] @returns {any} */
const context = (params = {}, entities = {}, headers = {}) => ({
  oidc: { route: 'token', params: { grant_type: 'client_credentials', scope: 'a', ...params }, entities },
  get: (/** @type {string} */ name) => Reflect.get(headers, name) ?? '',
});
/** @param {Record<string, any>} [members] */
const token = (members = {}) => ({
  clientId: 'job', scope: 'a', expiration: 600, resourceServer: { identifier: () => RESOURCE }, ...members,
});
const client = { clientId: 'job' };

test('one question for one token, however often it is described', async () => {
  await withPdp(async (pdp) => {
    const { getResourceServerInfo, extraTokenClaims } = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO });
    pdp.answer = () => response({ evaluations: [{ decision: true, context: { issuance: { claims: { team: 'ops' }, token_lifetime: 60 } } }, { decision: true }] });
    const ctx = context();
    const [one, other] = await Promise.all([getResourceServerInfo(ctx, RESOURCE, client), getResourceServerInfo(ctx, RESOURCE, client)]);
    assert.deepEqual([one, other], [{ scope: 'a', accessTokenTTL: 60 }, { scope: 'a', accessTokenTTL: 60 }]);
    assert.deepEqual(await extraTokenClaims(ctx, token({ expiration: 60 })), { team: 'ops' });
    assert.equal(pdp.requests.length, 1);
    await getResourceServerInfo(context(), RESOURCE, client);
    await getResourceServerInfo(ctx, 'https://other.example', client);
    assert.equal(pdp.requests.length, 3, 'another request, another resource');
  });
});

test('a denial stays a denial within its request', async () => {
  await withPdp(async (pdp) => {
    const { getResourceServerInfo, extraTokenClaims } = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO });
    pdp.answer = () => response({ evaluations: [{ decision: false }, { decision: true }] });
    const ctx = context();
    const refused = { name: 'TokenRefused', error: 'access_denied', status: 400 };
    await assert.rejects(getResourceServerInfo(ctx, RESOURCE, client), refused);
    pdp.answer = permitAll;
    await assert.rejects(getResourceServerInfo(ctx, RESOURCE, client), refused);
    await assert.rejects(extraTokenClaims(ctx, token()), refused);
  });
});

test('a token that goes beyond what was decided, or that nobody decided about', async () => {
  await withPdp(async (pdp) => {
    const { getResourceServerInfo, extraTokenClaims } = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO });
    const ctx = context();
    await getResourceServerInfo(ctx, RESOURCE, client);
    assert.deepEqual(await extraTokenClaims(ctx, token()), {});
    for (const beyond of [
      { scope: 'a b' }, { expiration: 601 }, { expiration: undefined }, { clientId: 'other' }, { accountId: 'u-1' }, { rar: [{ type: 'x' }] },
      { resourceServer: undefined }, { resourceServer: { identifier: () => 'https://other.example' } },
    ]) await assert.rejects(extraTokenClaims(ctx, token(beyond)), Misuse, JSON.stringify(beyond));
    await assert.rejects(extraTokenClaims(context(), token()), Misuse);
    await assert.rejects(extraTokenClaims(/** @type {any} */ (undefined), token()), Misuse);
  });
});

test("the server's own claims stay, and are not overwritten", async () => {
  await withPdp(async (pdp) => {
    const own = { getResourceServerInfo: () => INFO, extraTokenClaims: () => ({ tenant: 'own' }) };
    const { getResourceServerInfo, extraTokenClaims } = hooks(new Enforcer({ url: pdp.url }), own);
    const ctx = context();
    await getResourceServerInfo(ctx, RESOURCE, client);
    assert.deepEqual(await extraTokenClaims(ctx, token()), { tenant: 'own' });
    pdp.answer = () => response({ evaluations: [{ decision: true, context: { issuance: { claims: { tenant: 'theirs' } } } }, { decision: true }] });
    const again = context();
    await getResourceServerInfo(again, RESOURCE, client);
    await assert.rejects(extraTokenClaims(again, token()), { name: 'TokenRefused', error: 'access_denied' });
  });
});

test('what is refused without a question', async () => {
  await withPdp(async (pdp) => {
    const { getResourceServerInfo } = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO });
    const code = { accountId: 'u-1', scopes: new Set(['a']), rar: [{ type: 'x' }] };
    const Grant = { getResourceScopeFiltered: (/** @type {string} */ _, /** @type {string[]} */ filter) => filter.join(' ') };
    await assert.rejects(getResourceServerInfo(context({ authorization_details: '[]' }), RESOURCE, client), { error: 'invalid_authorization_details' });
    await assert.rejects(getResourceServerInfo(context({ grant_type: 'authorization_code' }, { AuthorizationCode: code, Grant }), RESOURCE, client), TokenRefused);
    await assert.rejects(getResourceServerInfo(context({ scope: 'c' }), RESOURCE, client), { error: 'invalid_scope' });
    for (const params of [{ grant_type: 'urn:other' }, { grant_type: undefined }, { grant_type: 'authorization_code' }]) {
      await assert.rejects(getResourceServerInfo(context(params), RESOURCE, client), Misuse);
    }
    await assert.rejects(getResourceServerInfo(context({}, {}, { DPoP: '!' }), RESOURCE, client));
    const lasting = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => ({ scope: 'a' }) });
    await assert.rejects(lasting.getResourceServerInfo(context(), RESOURCE, client), Misuse);
    const broad = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO, defaultScopes: () => ['c'] });
    await assert.rejects(broad.getResourceServerInfo(context({ scope: undefined }), RESOURCE, client), Misuse);
    assert.equal(pdp.requests.length, 0);
    assert.deepEqual(await getResourceServerInfo({ ...context(), oidc: { route: 'authorization', entities: {} } }, RESOURCE, client), INFO);
    assert.equal(pdp.requests.length, 0, 'nothing is minted at the authorization endpoint');
  });
});

test('a refresh asks about what it would mint', async () => {
  await withPdp(async (pdp) => {
    const { getResourceServerInfo } = hooks(new Enforcer({ url: pdp.url }), { getResourceServerInfo: () => INFO, defaultScopes: () => ['b'] });
    const RefreshToken = { accountId: 'u-1', scopes: new Set(['openid', 'a', 'b']), acr: 'gold', amr: ['pwd'], authTime: 7 };
    const Grant = { getResourceScopeFiltered: (/** @type {string} */ _, /** @type {string[]} */ filter) => filter.filter((scope) => scope !== 'b').join(' ') };
    await getResourceServerInfo(context({ grant_type: 'refresh_token', scope: undefined }, { RefreshToken, Grant }), RESOURCE, client);
    await getResourceServerInfo(context({ grant_type: 'refresh_token', scope: 'openid' }, { RefreshToken, Grant }), RESOURCE, client);
    const [all, none] = pdp.requests.map(({ body }) => body);
    assert.deepEqual(all.evaluations, [{ action: { name: 'issue:access_token:refresh_token' } }, { action: { name: 'a' } }]);
    assert.deepEqual(all.subject, { type: 'user', id: 'u-1' });
    assert.deepEqual([all.context.acr, all.context.amr, all.context.auth_time], ['gold', ['pwd'], 7]);
    assert.deepEqual(none.action, { name: 'issue:access_token:refresh_token' }, 'a token without scopes: the gate alone');
  });
});

/**
 * The reply of the token endpoint of a real oidc-provider, set up otherwise than the README says.
 *
 * @param {string} url the PDP's
 * @param {import('oidc-provider').Configuration} configuration
 * @returns {Promise<Record<string, any>>}
 */
async function tokenOf(url, configuration, defaultResource = true) {
  const { getResourceServerInfo, extraTokenClaims } = hooks(new Enforcer({ url }), { getResourceServerInfo: () => INFO });
  const provider = new Provider('http://127.0.0.1', {
    clients: [{ client_id: 'job', client_secret: 's', grant_types: ['client_credentials'], response_types: [], redirect_uris: [] }],
    cookies: { keys: ['k'] },
    extraTokenClaims,
    ...configuration,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo, ...(defaultResource && { defaultResource: () => RESOURCE }) },
    },
  });
  const server = createServer(provider.callback());
  await new Promise((done) => { server.listen(0, '127.0.0.1', () => done(undefined)); });
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const reply = await fetch(`http://127.0.0.1:${port}/token`, {
    method: 'POST',
    headers: { Authorization: `Basic ${Buffer.from('job:s').toString('base64')}`, 'Content-Type': 'application/x-www-form-urlencoded' },
    body: 'grant_type=client_credentials&scope=a',
  });
  server.closeAllConnections();
  server.close();
  return { status: reply.status, ...Object(await reply.json()) };
}

test('a server that is set up wrongly mints nothing', async (t) => {
  t.mock.method(console, 'info', () => {});
  await withPdp(async (pdp) => {
    const reply = await tokenOf(pdp.url, {});
    assert.deepEqual([reply['status'], reply['scope'], typeof reply['access_token']], [200, 'a', 'string']);
    for (const wrong of [await tokenOf(pdp.url, { ttl: { ClientCredentials: 7200 } }), await tokenOf(pdp.url, {}, false)]) {
      assert.deepEqual(wrong, { status: 500, error: 'server_error', error_description: 'oops! something went wrong' });
    }
  });
});
