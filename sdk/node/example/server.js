/**
 * An oidc-provider that asks before it mints, on loopback, for trying out: node example/server.js
 *
 * PDP_URL and PDP_TOKEN say whom it asks. Its one user is signed in without a question and consents to everything; its
 * clients are `job` (client_credentials) and `shop` (authorization_code with PKCE, refresh_token), secret `example-secret`.
 * Writes {"issuer": ...} when it listens, and a line for each token that it refused.
 */

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

import { configuration } from './configuration.js';

const server = createServer();
await new Promise((listening) => { server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => listening(undefined)); });
const address = server.address();
const issuer = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const secret = 'example-secret';

/** @type {Provider} */
const provider = new Provider(issuer, {
  ...configuration,
  features: { ...configuration.features, devInteractions: { enabled: false } },
  clients: [
    { client_id: 'job', client_secret: secret, grant_types: ['client_credentials'], response_types: [], redirect_uris: [] },
    { client_id: 'blocked', client_secret: secret, grant_types: ['client_credentials'], response_types: [], redirect_uris: [] },
    {
      client_id: 'shop', client_secret: secret, grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['https://shop.example/cb'], id_token_signed_response_alg: 'ES256',
    },
  ],
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  cookies: { keys: [secret] },
  jwks: { keys: [/** @type {any} */ ({ ...signing, use: 'sig', alg: 'ES256', kid: 'es' })] },
  scopes: ['openid'],
  pkce: { required: () => true },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { Session: 600, Interaction: 600, Grant: 600, RefreshToken: 600, IdToken: 600 },
  async loadExistingGrant(ctx) {
    const { client, session, params, resourceServers } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client?.clientId, accountId: session?.accountId });
    grant.addOIDCScope(String(params?.['scope']));
    for (const [resource, { scopes }] of Object.entries(resourceServers ?? {})) {
      grant.addResourceScope(resource, String(params?.['scope']).split(' ').filter((scope) => scopes.has(scope)).join(' '));
    }
    await grant.save();
    return grant;
  },
});
/** @type {(event: string) => (ctx: unknown, error: Error) => void} */
const reports = (event) => (_ctx, { message, cause }) => {
  console.log(JSON.stringify({ event, error: message, cause: cause instanceof Error ? cause.message : cause }));
};
provider.on('grant.error', reports('grant.error'));
provider.on('server_error', reports('server_error'));

const callback = provider.callback();
server.on('request', (request, response) => {
  if (!request.url?.startsWith('/interaction/')) return callback(request, response);
  return provider.interactionFinished(request, response, { login: { accountId: 'u-1', acr: 'urn:test:acr:low', amr: ['pwd'] } });
});
console.log(JSON.stringify({ issuer }));
