import { Enforcer } from 'issuance-enforcer';
import { hooks } from 'issuance-enforcer/oidc-provider';

const ACCOUNTS = 'https://accounts.example';

const enforcer = new Enforcer(
  { url: process.env['PDP_URL'] ?? 'https://pdp.example', token: process.env['PDP_TOKEN'] ?? '' },
  { claims: ['tenant'] }, // what the resource servers heed, where a policy calls it critical
);

const { getResourceServerInfo, extraTokenClaims } = hooks(enforcer, {
  // What would be minted if nobody were asked; the decision only narrows it.
  getResourceServerInfo: () => ({ scope: 'read write pay never sealed', accessTokenTTL: 3600, accessTokenFormat: 'jwt' }),
  // What the server grants in client_credentials where the client names no scope.
  defaultScopes: () => ['read'],
});

/** @type {import('oidc-provider').Configuration} */
export const configuration = {
  extraTokenClaims,
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo,
      // Every access token has a resource: one without is not asked about, and so not minted.
      defaultResource: (_ctx, _client, oneOf) => oneOf?.[0] ?? ACCOUNTS,
      useGrantedResource: () => true,
    },
  },
  // Rotated, a refresh token would be used up by a refresh that is then denied.
  rotateRefreshToken: false,
};
