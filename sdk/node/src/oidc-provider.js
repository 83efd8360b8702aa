/**
 * The two hooks of the package `oidc-provider` (9.x): every access token is asked for before it is minted.
 *
 * `getResourceServerInfo` asks, and narrows scopes and lifetime; `extraTokenClaims` adds the claims, and throws for a token
 * that goes beyond what was decided, or that nobody decided about. It sees each access token last, so that one that comes
 * by another way (no resource, a response type that mints at the authorization endpoint) is not minted either.
 *
 * Imports nothing of oidc-provider: its errors are known by their members.
 */

import { createHash } from 'node:crypto';

import { EnforcerFault, Misuse, NoDecision } from './fault.js';
import { refusal } from './refuse.js';

/** @typedef {import('./enforcer.js').Enforcer} Enforcer */
/** @typedef {import('./merge.js').Mint} Mint */
/** @typedef {import('./refuse.js').Refusal} Refusal */
/** @typedef {import('./wish.js').Wish} Wish */
/**
 * What oidc-provider knows of a resource server. `accessTokenTTL` (s) is required here: the PDP can only shorten it.
 *
 * @typedef {object} Info
 * @property {string} scope
 * @property {string} [audience]
 * @property {number} [accessTokenTTL]
 * @property {'opaque' | 'jwt'} [accessTokenFormat]
 * @property {any} [jwt]
 */
/**
 * The context of one request, as far as it is read here.
 *
 * @typedef {{
 *   oidc: { route: string, params?: Record<string, any> | undefined, entities: Record<string, any> },
 *   get(header: string): string,
 * }} Context
 */
/** @typedef {{ clientId: string }} Client */
/** @typedef {Record<string, any>} Token */
/**
 * The server's own two functions, and what it grants where a client names no scope in client_credentials.
 *
 * @typedef {object} Own
 * @property {(ctx: any, resource: string, client: any) => Info | Promise<Info>} getResourceServerInfo
 * @property {(ctx: any, token: any) => Record<string, unknown> | undefined | Promise<Record<string, unknown> | undefined>} [extraTokenClaims]
 * @property {(ctx: any, resource: string, client: any) => readonly string[] | Promise<readonly string[]>} [defaultScopes]
 */
/** @typedef {{ wish: Wish, answer: Promise<Mint> }} Decision */

/** Grant types with the profile's short names, and what a token of them is minted from. */
const GRANTS = new Map(/** @type {[string, { name: string, source?: string }][]} */ ([
  ['client_credentials', { name: 'client_credentials' }],
  ['authorization_code', { name: 'authorization_code', source: 'AuthorizationCode' }],
  ['refresh_token', { name: 'refresh_token', source: 'RefreshToken' }],
  ['urn:ietf:params:oauth:grant-type:device_code', { name: 'device_code', source: 'DeviceCode' }],
  ['urn:openid:params:grant-type:ciba', { name: 'ciba', source: 'BackchannelAuthenticationRequest' }],
]));
/** The members of a key that its thumbprint is made of, in order (RFC 7638). */
const THUMBPRINT = new Map([['EC', ['crv', 'kty', 'x', 'y']], ['OKP', ['crv', 'kty', 'x']], ['RSA', ['e', 'kty', 'n']]]);

/** An OAuth error as oidc-provider passes it on; `cause` is the refusal or the fault behind it, for the server's log. */
export class TokenRefused extends Error {
  /**
   * @param {number} status
   * @param {string} error
   * @param {string} description
   * @param {unknown} cause
   */
  constructor(status, error, description, cause) {
    super(error, { cause });
    this.name = 'TokenRefused';
    this.error = error;
    this.error_description = description;
    this.status = status;
    this.statusCode = status;
    this.expose = true;
  }
}

/**
 * The hooks: `getResourceServerInfo` for `features.resourceIndicators`, `extraTokenClaims` for the configuration.
 *
 * @param {Pick<Enforcer, 'ask'>} enforcer
 * @param {Own} own
 */
export function hooks(enforcer, own) {
  /** @type {WeakMap<Context, Map<string, Decision>>} What was decided in a request, by resource. */
  const decided = new WeakMap();

  /** @type {(ctx: Context, resource: string, wish: Wish) => Promise<Mint>} */
  function decide(ctx, resource, wish) {
    const here = decided.get(ctx) ?? new Map();
    decided.set(ctx, here);
    const before = here.get(resource);
    if (before && JSON.stringify(before.wish) === JSON.stringify(wish)) return before.answer;
    const answer = mintOf(enforcer, wish);
    here.set(resource, { wish, answer });
    return answer;
  }

  return {
    /**
     * The server's own description of the resource, cut to what may be minted now. Nothing is minted at other endpoints
     * than the token endpoint: there the description goes out as it is, and nobody is asked.
     *
     * @param {Context} ctx
     * @param {string} resource
     * @param {Client} client
     * @returns {Promise<Info>}
     */
    async getResourceServerInfo(ctx, resource, client) {
      const info = await own.getResourceServerInfo(ctx, resource, client);
      if (ctx.oidc.route !== 'token') return info;
      const defaults = (await own.defaultScopes?.(ctx, resource, client)) ?? [];
      const wish = wishOf(ctx, resource, client, info, defaults);
      const { scopes, lifetime } = await decide(ctx, resource, wish);
      // oidc-provider mints what the client named: where it named none, what was granted of the default.
      if (wish.defaultScopes?.length && ctx.oidc.params) ctx.oidc.params['scope'] = scopes.join(' ');
      return { ...info, scope: scopes.join(' '), ...(lifetime !== undefined && { accessTokenTTL: lifetime }) };
    },

    /**
     * The claims of the decision, beside the server's own.
     *
     * @param {Context} ctx
     * @param {Token} token
     * @returns {Promise<Record<string, unknown>>}
     */
    async extraTokenClaims(ctx, token) {
      const resource = token['resourceServer']?.identifier();
      const decision = ctx && decided.get(ctx)?.get(resource);
      if (!decision) {
        throw new Misuse('an access token that was not asked about: give every token a resource (defaultResource, '
          + 'useGrantedResource), and mint none but at the token endpoint');
      }
      const mint = await decision.answer;
      within(token, decision.wish, mint);
      const claims = (await own.extraTokenClaims?.(ctx, token)) ?? {};
      if (Object.keys(claims).some((name) => Object.hasOwn(mint.claims, name))) {
        throw refused({ ...refusal('access_denied', "a claim of the server's own"), decisionIds: mint.decisionIds });
      }
      return { ...claims, ...mint.claims };
    },
  };
}

/**
 * @param {Pick<Enforcer, 'ask'>} enforcer
 * @param {Wish} wish
 */
async function mintOf(enforcer, wish) {
  let answer;
  try {
    answer = await enforcer.ask(wish);
  } catch (error) {
    if (!(error instanceof NoDecision) || error.error !== 'temporarily_unavailable') throw error;
    throw new TokenRefused(503, error.error, 'no decision could be made, try again later', error);
  }
  if (answer.kind === 'refusal') throw refused(answer);
  return answer;
}

/** @param {Refusal} refusal */
function refused(refusal) {
  return new TokenRefused(400, refusal.error, refusal.description, refusal);
}

/**
 * The token that oidc-provider is about to mint.
 *
 * @param {Context} ctx
 * @param {string} resource
 * @param {Client} client
 * @param {Info} info
 * @param {readonly string[]} defaults
 * @returns {Wish}
 */
function wishOf(ctx, resource, client, info, defaults) {
  const { params = {}, entities } = ctx.oidc;
  const grant = GRANTS.get(params['grant_type']);
  const source = grant?.source ? entities[grant.source] : undefined;
  if (!grant || (grant.source && !(source && entities['Grant']))) {
    throw new Misuse('a grant type that these hooks do not know: ask with the enforcer in its handler');
  }
  if (info.accessTokenTTL === undefined) throw new Misuse('getResourceServerInfo returns no accessTokenTTL');
  if (params['authorization_details'] !== undefined || source?.rar !== undefined) {
    throw refused(refusal('invalid_authorization_details', 'these hooks carry no authorization details'));
  }
  const jkt = thumbprint(ctx.get('DPoP'));
  return {
    subject: source ? { type: 'user', id: source.accountId } : { type: 'client', id: client.clientId },
    clientId: client.clientId,
    grantType: grant.name,
    audience: [info.audience ?? resource],
    lifetime: info.accessTokenTTL,
    ...(source ? ofUser(params, entities, source, resource, info) : ofClient(params, info, defaults)),
    ...(jkt !== undefined && { cnf: { jkt } }),
  };
}

/**
 * The scopes that the token would have, as oidc-provider finds them, and the sign-in.
 *
 * @param {Record<string, any>} params
 * @param {Record<string, any>} entities
 * @param {Record<string, any>} source
 * @param {string} resource
 * @param {Info} info
 */
function ofUser(params, entities, source, resource, info) {
  const named = entities['RefreshToken'] === source && params['scope'] ? words(params['scope']) : [...source['scopes']];
  const offered = words(info.scope);
  const scopes = words(entities['Grant'].getResourceScopeFiltered(resource, named.filter((scope) => offered.includes(scope))));
  return {
    scopes,
    ...(source['acr'] !== undefined && { acr: source['acr'] }),
    ...(source['amr'] !== undefined && { amr: source['amr'] }),
    ...(source['authTime'] !== undefined && { authTime: source['authTime'] }),
  };
}

/**
 * @param {Record<string, any>} params
 * @param {Info} info
 * @param {readonly string[]} defaults
 */
function ofClient(params, info, defaults) {
  const offered = words(info.scope);
  const named = words(params['scope']);
  const scopes = named.filter((scope) => offered.includes(scope));
  // A gate alone would leave the policies of all that was named unasked.
  if (named.length > 0 && scopes.length === 0) throw refused(refusal('invalid_scope', 'the resource has none of the scopes'));
  if (named.length > 0) return { scopes };
  if (!defaults.every((scope) => offered.includes(scope))) throw new Misuse('a default scope is none of the resource');
  return { scopes, defaultScopes: defaults };
}

/**
 * Throws where the token is more than what was decided. Not reached in a server that is set up as the README says.
 *
 * @param {Token} token
 * @param {Wish} wish
 * @param {Mint} mint
 */
function within(token, wish, mint) {
  const scopes = words(token['scope']);
  if (!scopes.every((scope) => mint.scopes.includes(scope))) throw new Misuse('the token has a scope that was not granted');
  if (mint.lifetime !== undefined && !(token['expiration'] <= mint.lifetime)) {
    throw new Misuse('the token lives longer than decided: ttl.AccessToken and ttl.ClientCredentials heed accessTokenTTL');
  }
  if (token['clientId'] !== wish.clientId || (token['accountId'] ?? token['clientId']) !== wish.subject.id) {
    throw new Misuse('the token is for somebody else');
  }
  if (wish.cnf && token['jkt'] !== wish.cnf['jkt']) throw new Misuse('the token is not bound to the key of its DPoP proof');
  if (token['rar'] !== undefined) throw new Misuse('the token has authorization details');
}

/**
 * @param {string | undefined} scope
 * @returns {string[]}
 */
function words(scope) {
  return [...new Set(scope?.split(' ').filter((word) => word !== ''))];
}

/**
 * The thumbprint of the key in a DPoP proof (RFC 9449), which oidc-provider has verified by now; undefined without one.
 *
 * @param {string} proof
 * @returns {string | undefined}
 */
function thumbprint(proof) {
  if (!proof) return undefined;
  try {
    const { jwk } = JSON.parse(Buffer.from(proof.split('.')[0] ?? '', 'base64url').toString());
    const members = THUMBPRINT.get(jwk.kty);
    return members && createHash('sha256')
      .update(JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])))).digest('base64url');
  } catch (error) {
    throw new EnforcerFault('the DPoP proof cannot be read', { cause: error });
  }
}
