/**
 * What permitted items say about the token, merged by the rules of the token-issuance profile.
 *
 * What narrows, narrows wherever it was said; what adds must be about what is granted. Whatever would make the token
 * broader than the wish, and whatever this server would have to drop, is a denial.
 */

import { covered, union } from './details.js';
import { Denied, denied, refusal } from './refuse.js';
import { typed } from './strict-json.js';

/** @typedef {import('./batch.js').Asked} Asked */
/** @typedef {import('./details.js').Validator} Validator */
/** @typedef {import('./reply.js').Item} Item */
/** @typedef {import('./wish.js').Asking} Asking */
/** @typedef {{ asked: Asked, item: Item }} Answer */
/**
 * What this server and its resource servers understand beyond the profile.
 *
 * `claims`: the ones that a PDP may call critical. `ownClaims`: names that the server sets itself, and no PDP may
 * (`acr` and `nonce` in an ID token, say). `details`: for a type of authorization details, who compares what only that
 * type knows.
 *
 * @typedef {object} Understood
 * @property {readonly string[]} [claims]
 * @property {readonly string[]} [ownClaims]
 * @property {Readonly<Record<string, Validator>>} [details]
 */
/**
 * How far the permits reach: scopes, and the resources of the second level that are left.
 *
 * @typedef {{ scopes: string[], resources: string[] }} Reach
 */

export const RESERVED_CLAIMS = Object.freeze([
  ...['iss', 'iat', 'jti', 'sub', 'aud', 'exp', 'nbf', 'scope', 'client_id', 'cnf', 'act', 'may_act'],
  'authorization_details',
]);

/**
 * The scopes within the union of `granted_scope`; for a gate alone, what of it the server would grant.
 *
 * Where a scope must be permitted more than once (at each target, to both parties of a transaction token), so must it
 * be named.
 *
 * @param {Asking} asking
 * @param {string[]} scopes
 * @param {readonly Answer[]} permitted
 * @returns {string[]}
 */
export function granted(asking, scopes, permitted) {
  /** @type {Map<string, Set<string>>} */
  const unions = new Map();
  for (const { asked, item } of permitted) {
    if (!item.issuance.granted_scope) continue;
    const place = JSON.stringify([asked.target, ...(asking.needsBoth ? [asked.subject.type, asked.subject.id] : [])]);
    unions.set(place, new Set([...(unions.get(place) ?? []), ...item.issuance.granted_scope]));
  }
  const named = [...unions.values()];
  if (named.length === 0) return scopes;
  const byScope = asking.asked.length > 0;
  if (byScope && named.some((set) => [...set].some((scope) => !asking.asked.includes(scope)))) {
    throw new Denied(denied(asking, 'granted_scope goes beyond what was asked for'));
  }
  const left = (byScope ? scopes : asking.grantable).filter((scope) => named.every((set) => set.has(scope)));
  if (left.length === 0 && (byScope || named.some((set) => set.size > 0))) {
    throw new Denied(refusal('invalid_scope', 'granted_scope leaves no scope'));
  }
  return left;
}

/**
 * Both levels within the intersection of what items state; each stated value must be a target that is permitted.
 *
 * @param {Asking} asking
 * @param {Reach} reach
 * @param {readonly Answer[]} permitted
 * @returns {{ audience: string[], resources: string[] }}
 */
export function targets(asking, { resources }, permitted) {
  const stated = permitted.flatMap(({ item }) => (item.issuance.audience ? [item.issuance.audience] : []));
  if (stated.length === 0) return { audience: asking.targets, resources };
  const known = new Set(permitted.map(({ asked }) => asked.target));
  if (stated.flat().some((value) => !known.has(value))) {
    throw new Denied(denied(asking, 'audience goes beyond the targets'));
  }
  /** @param {string} target */
  const common = (target) => stated.every((audience) => audience.includes(target));
  const audience = asking.targets.filter(common);
  const behind = asking.asked.length > 0 ? resources.filter(common) : resources;
  if (audience.length === 0 || (resources.length > 0 && behind.length === 0)) {
    throw new Denied(refusal('invalid_target', 'audience leaves no target'));
  }
  return { audience, resources: behind };
}

/**
 * The items that may add to the token: gates and granted scopes, at the targets that are `kept`.
 *
 * @param {readonly Answer[]} permitted
 * @param {readonly string[]} scopes
 * @param {readonly string[]} kept
 * @returns {Item[]}
 */
export function adding(permitted, scopes, kept) {
  return permitted
    .filter(({ asked }) => kept.includes(asked.target) && (asked.scope === undefined || scopes.includes(asked.scope)))
    .map(({ item }) => item);
}

/**
 * The shortest of all that was stated, in seconds; undefined: nobody bounds it.
 *
 * @param {Asking} asking
 * @param {readonly Answer[]} permitted
 * @returns {number | undefined}
 */
export function lifetime(asking, permitted) {
  const ceilings = permitted.flatMap(({ item }) => item.issuance.token_lifetime ?? []);
  if (ceilings.includes(0)) throw new Denied(denied(asking, 'a lifetime of 0'));
  const all = asking.lifetime === undefined ? ceilings : [asking.lifetime, ...ceilings];
  return all.length > 0 ? all.reduce((one, other) => Math.min(one, other)) : undefined;
}

/**
 * The entries that the PDP returned. A permit says nothing about them: nothing returned is nothing granted.
 *
 * @param {Asking} asking
 * @param {readonly Item[]} items
 * @param {Understood} understood
 */
export function authorizationDetails(asking, items, understood) {
  const entries = union(items.flatMap(({ issuance }) => (issuance.authorization_details ? [issuance.authorization_details] : [])));
  if (!entries.every((entry) => covered(entry, asking.details, understood.details ?? {}))) {
    throw new Denied(refusal('invalid_authorization_details', 'an entry goes beyond what was asked for'));
  }
  if (asking.details.length > 0 && entries.length === 0) {
    throw new Denied(refusal('invalid_authorization_details', 'no authorization details are granted'));
  }
  return entries;
}

/**
 * The claims, and which of them are critical.
 *
 * @param {Asking} asking
 * @param {readonly Item[]} items
 * @param {Understood} understood
 */
export function claims(asking, items, understood) {
  /** @type {Map<string, unknown>} */
  const merged = new Map();
  for (const [name, value] of items.flatMap(({ issuance }) => Object.entries(issuance.claims ?? {}))) {
    if (merged.has(name) && typed(merged.get(name)) !== typed(value)) {
      throw new Denied(denied(asking, 'two values for one claim'));
    }
    merged.set(name, value);
  }
  const crit = [...new Set(items.flatMap(({ issuance }) => issuance.crit ?? []))];
  if ([...RESERVED_CLAIMS, ...(understood.ownClaims ?? [])].some((name) => merged.has(name))) {
    throw new Denied(denied(asking, "a claim of the server's own"));
  }
  if (!crit.every((name) => merged.has(name) && understood.claims?.includes(name))) {
    throw new Denied(denied(asking, 'a critical claim that is not understood, or not set'));
  }
  return { claims: Object.fromEntries(merged), crit };
}
