/** What an authorization server wants to mint: one token, after it has authenticated and validated all that it can. */

import { Misuse } from './fault.js';
import { isObject } from './strict-json.js';

/** @typedef {import('./details.js').Detail} Detail */
/**
 * A subject of AuthZEN. `id` is exactly the `sub` that the token will carry; `properties` are advisory.
 *
 * @typedef {object} Party
 * @property {'user' | 'client' | 'workload'} type
 * @property {string} id
 * @property {Readonly<Record<string, unknown>>} [properties]
 */
/**
 * What a token exchange (RFC 8693) or an assertion adds to a wish.
 *
 * `requestingParty`: whose actor token was shown; without it the authenticated client, and with an assertion nobody.
 * `resources`: the second level, the resources behind the target that will consume what is minted. `subjectToken`,
 * `act` and `mayAct` are validated claims, never tokens; they are advisory.
 *
 * @typedef {object} Exchange
 * @property {Party} [requestingParty]
 * @property {readonly string[]} [resources]
 * @property {string} [subjectTokenType]
 * @property {string} [actorTokenType]
 * @property {Readonly<Record<string, unknown>>} [subjectToken]
 * @property {Readonly<Record<string, unknown>>} [act]
 * @property {Readonly<Record<string, unknown>>} [mayAct]
 */
/**
 * One token that the server would mint.
 *
 * `grantType` and `tokenType` are the profile's short names (`client_credentials`, `access_token`). `audience`: the
 * issuance targets, the server's default where the client named none. `scopes`: what the client asked for.
 * `defaultScopes`: what the server would grant where the client named none. `grantableScopes`: where there are
 * neither, which scopes a PDP may name. `lifetime`: the server's own, in seconds. `authTime`: seconds since
 * the epoch. `endpoint`: where the client waits for the answer.
 *
 * @typedef {object} Wish
 * @property {Party} subject
 * @property {string} clientId
 * @property {string} grantType
 * @property {readonly string[]} audience
 * @property {readonly string[]} [scopes]
 * @property {readonly string[]} [defaultScopes]
 * @property {readonly string[]} [grantableScopes]
 * @property {string} [tokenType]
 * @property {number} [lifetime]
 * @property {readonly Detail[]} [authorizationDetails]
 * @property {string} [acr]
 * @property {readonly string[]} [amr]
 * @property {number} [authTime]
 * @property {Readonly<Record<string, unknown>>} [cnf]
 * @property {Exchange} [exchange]
 * @property {'token' | 'authorization'} [endpoint]
 * @property {string} [requestId]
 */
/**
 * A wish that can be asked, with all that follows from it. Lists hold each value once.
 *
 * `gate`: the action of the gate. `targets`: the first level. `asked`: what is asked of the PDP scope by scope: what the
 * client named, else the server's default. `resources`: the second level, less what is of the first. `requesting`: the
 * second party whose gate must be open, if it is not the subject itself. `needsBoth`: what a transaction token may do,
 * both its parties must be allowed to do.
 *
 * @typedef {Required<Pick<Wish, 'subject' | 'clientId' | 'grantType' | 'endpoint'>> & {
 *   wish: Wish, gate: string, scopes: readonly string[], targets: string[], asked: string[], grantable: string[],
 *   resources: string[], requesting: Party | undefined, needsBoth: boolean, details: readonly Detail[],
 *   lifetime: number | undefined,
 * }} Asking
 */

const TYPES = ['user', 'client', 'workload'];
const ENDPOINTS = ['token', 'authorization'];
const MEMBERS = new Set([
  ...['subject', 'clientId', 'grantType', 'audience', 'scopes', 'defaultScopes', 'grantableScopes', 'tokenType'],
  ...['lifetime', 'authorizationDetails', 'acr', 'amr', 'authTime', 'cnf', 'exchange', 'endpoint', 'requestId'],
]);
const EXCHANGE_MEMBERS = new Set([
  ...['requestingParty', 'resources', 'subjectTokenType', 'actorTokenType', 'subjectToken', 'act', 'mayAct'],
]);
const SHORT_NAME = /^[a-z][a-z0-9_]{0,30}$/;
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/;
const HEADER = /^[\x21-\x7E]{1,256}$/;
const MAX_GATE = 50;
const ASSERTIONS = ['jwt_bearer', 'saml2_bearer'];

/**
 * Whether `value` may be a scope tuple: a `scope-token` (RFC 6749, section 3.3), and not reserved for gates.
 *
 * @param {string} value
 */
export function isScope(value) {
  return SCOPE_TOKEN.test(value) && !value.startsWith('issue:');
}

/**
 * The tokens of a space-delimited scope string, or undefined when it is ill-formed. The empty string is no scope.
 *
 * @param {string} value
 * @returns {string[] | undefined}
 */
export function scopeSet(value) {
  const tokens = value === '' ? [] : value.split(' ');
  return tokens.every((token) => SCOPE_TOKEN.test(token)) ? tokens : undefined;
}

/**
 * The wish with all that follows from it. Throws Misuse where the server's own part cannot be asked.
 *
 * @param {Wish} wish
 * @returns {Asking}
 */
export function asking(wish) {
  if (!isObject(wish)) throw new Misuse('a wish is an object');
  known('wish', wish, MEMBERS);
  const { subject, clientId, grantType, exchange, tokenType = 'access_token', endpoint = 'token' } = wish;
  party(subject);
  if (typeof clientId !== 'string') throw new Misuse('clientId is a string');
  const gate = `issue:${tokenType}:${grantType}`;
  if (![tokenType, grantType].every((name) => SHORT_NAME.test(name)) || gate.length > MAX_GATE) {
    throw new Misuse('grantType and tokenType are short names of the profile, their gate at most 50 characters');
  }
  if ((grantType === 'token_exchange') !== (exchange !== undefined) && !ASSERTIONS.includes(grantType)) {
    throw new Misuse('a token_exchange needs an exchange, and only it and assertions may have one');
  }
  const targets = strings('audience', wish.audience);
  if (targets.length === 0) throw new Misuse('audience has at least one target: the default where none was named');
  const scopes = strings('scopes', wish.scopes);
  const defaults = strings('defaultScopes', wish.defaultScopes);
  const grantable = strings('grantableScopes', wish.grantableScopes);
  strings('amr', wish.amr);
  if (![...defaults, ...grantable].every(isScope)) {
    throw new Misuse("a scope of the server's own is not a scope-token, or begins with issue:");
  }
  bounds(wish);
  const requesting = requestingParty(wish);
  return {
    wish, subject, clientId, grantType, endpoint, gate, scopes, targets, grantable, requesting,
    asked: scopes.length > 0 ? scopes : defaults,
    resources: exchange ? secondLevel(exchange).filter((resource) => !targets.includes(resource)) : [],
    needsBoth: tokenType === 'txn_token' && requesting !== undefined,
    details: wish.authorizationDetails ?? [],
    lifetime: wish.lifetime,
  };
}

/**
 * A misspelt member would be silently missing from what is asked.
 *
 * @param {string} what
 * @param {object} value
 * @param {Set<string>} members
 */
function known(what, value, members) {
  const other = Object.keys(value).find((name) => !members.has(name));
  if (other !== undefined) throw new Misuse(`${what} has no member ${JSON.stringify(other)}`);
}

/** @param {Party} value */
function party(value) {
  if (!isObject(value) || !TYPES.includes(value.type) || typeof value.id !== 'string' || value.id === '') {
    throw new Misuse('a party has a type (user, client or workload) and an id');
  }
}

/**
 * Each once.
 *
 * @param {string} name
 * @param {readonly string[] | undefined} value
 * @returns {string[]}
 */
function strings(name, value) {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((one) => typeof one === 'string')) {
    throw new Misuse(`${name} is an array of strings`);
  }
  return [...new Set(value)];
}

/** @param {Wish} wish */
function bounds(wish) {
  if (wish.lifetime !== undefined && !(Number.isSafeInteger(wish.lifetime) && wish.lifetime > 0)) {
    throw new Misuse('lifetime is a positive number of whole seconds');
  }
  if (wish.requestId !== undefined && !HEADER.test(wish.requestId)) {
    throw new Misuse('requestId is 1 to 256 printable ASCII characters without spaces');
  }
  if (wish.endpoint !== undefined && !ENDPOINTS.includes(wish.endpoint)) {
    throw new Misuse('endpoint is token or authorization');
  }
  if (wish.authorizationDetails !== undefined && !Array.isArray(wish.authorizationDetails)) {
    throw new Misuse('authorizationDetails is an array');
  }
}

/** @param {Exchange} exchange */
function secondLevel(exchange) {
  known('exchange', exchange, EXCHANGE_MEMBERS);
  return strings('resources', exchange.resources);
}

/**
 * @param {Wish} wish
 * @returns {Party | undefined}
 */
function requestingParty({ exchange, grantType, clientId, subject }) {
  if (exchange === undefined) return undefined;
  /** @type {Party | undefined} */
  let found = exchange.requestingParty;
  if (found !== undefined) party(found);
  else if (grantType === 'token_exchange') found = { type: 'client', id: clientId };
  return found?.type === subject.type && found.id === subject.id ? undefined : found;
}
