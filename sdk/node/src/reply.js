/**
 * The PDP's reply, read with suspicion: what is not exactly a decision on what was asked is none.
 *
 * On a permitted item whatever stands in `context.issuance` must be understood, since leaving it out would make the token
 * broader. On a denied item nothing can broaden, so only a well-formed step-up is looked at.
 */

import { isDetail } from './details.js';
import { BadReply } from './fault.js';
import { isObject, loads } from './strict-json.js';
import { scopeSet } from './wish.js';

/** @typedef {import('./batch.js').Batch} Batch */
/** @typedef {import('./details.js').Detail} Detail */
/** @typedef {'consent' | { acr_values?: string[], max_age?: number, amr?: string[] }} Requirement */
/**
 * The shaping of one permitted item. A member that is not there: it says nothing about that.
 *
 * @typedef {object} Issuance
 * @property {number} [token_lifetime]
 * @property {Set<string>} [granted_scope]
 * @property {string[]} [audience]
 * @property {Detail[]} [authorization_details]
 * @property {Record<string, unknown>} [claims]
 * @property {string[]} [crit]
 */
/**
 * The answer to one tuple. `require`: what would make a permit of this denial; empty when nothing would.
 *
 * @typedef {{ permitted: boolean, issuance: Issuance, require: Requirement[], decisionId?: string }} Item
 */

const MAX_ID = 128;
const SIGN_IN = ['acr_values', 'max_age', 'amr'];

/**
 * The items, one for each tuple of the batch and in its order. Throws BadReply.
 *
 * @param {Uint8Array} body
 * @param {Batch} batch
 * @returns {Item[]}
 */
export function read(body, batch) {
  const value = loads(body);
  if (!isObject(value)) throw new BadReply('the reply is not an object');
  const items = own(value, 'evaluations');
  if (batch.single) {
    if (items !== undefined) throw new BadReply('the reply to one evaluation has an array of them');
    return [itemOf(value)];
  }
  if (!Array.isArray(items)) throw new BadReply('the reply has no array of evaluations');
  if (Object.hasOwn(value, 'decision') && value['decision'] !== true) {
    throw new BadReply('the reply denies the batch as a whole and answers its items');
  }
  if (items.length !== batch.tuples.length) {
    throw new BadReply(`the reply has ${items.length} items for ${batch.tuples.length} tuples`);
  }
  return items.map(itemOf);
}

/**
 * A member of the object itself: what every object inherits is no part of a reply.
 *
 * @param {Record<string, unknown>} value
 * @param {string} name
 */
function own(value, name) {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

/**
 * @param {unknown} value
 * @returns {Item}
 */
function itemOf(value) {
  const decision = isObject(value) ? own(value, 'decision') : undefined;
  if (!isObject(value) || typeof decision !== 'boolean') {
    throw new BadReply('an item has no decision that is true or false');
  }
  const context = Object.hasOwn(value, 'context') ? value['context'] : {};
  if (!isObject(context)) throw new BadReply('the context of an item is not an object');
  const ext = own(context, 'issuance_ext');
  const aside = isObject(ext) ? ext : {};
  const id = own(aside, 'decision_id');
  const known = isText(id) && [...id].length <= MAX_ID ? { decisionId: id } : {};
  if (!decision) return { permitted: false, issuance: {}, require: requirements(own(aside, 'require')), ...known };
  const issuance = Object.hasOwn(context, 'issuance') ? issuanceOf(context['issuance']) : {};
  return { permitted: true, issuance, require: [], ...known };
}

/**
 * @param {unknown} value
 * @returns {Issuance}
 */
function issuanceOf(value) {
  if (!isObject(value)) throw new BadReply('issuance is not an object');
  return Object.fromEntries(Object.entries(value).map(([name, stated]) => {
    const reader = READERS.get(name);
    if (!reader) throw new BadReply('issuance has a member that is not understood');
    return [name, reader(stated)];
  }));
}

/** @param {unknown} value */
function lifetime(value) {
  if (!isWhole(value)) throw new BadReply('token_lifetime is not a number of whole seconds');
  return value;
}

/** @param {unknown} value */
function grantedScope(value) {
  const tokens = typeof value === 'string' ? scopeSet(value) : undefined;
  if (!tokens) throw new BadReply('granted_scope is not a space-delimited list of scopes');
  return new Set(tokens);
}

/** @param {unknown} value */
function strings(value) {
  if (!isTexts(value)) throw new BadReply('audience or crit is not an array of strings');
  return [...new Set(value)];
}

/** @param {unknown} value */
function details(value) {
  if (!Array.isArray(value)) throw new BadReply('authorization_details is not an array');
  if (!value.every(isDetail)) throw new BadReply('authorization_details has an entry without a type');
  return value;
}

/** @param {unknown} value */
function claims(value) {
  if (!isObject(value)) throw new BadReply('claims is not an object');
  return value;
}

/** @type {ReadonlyMap<string, (value: unknown) => unknown>} */
const READERS = new Map(/** @type {[string, (value: unknown) => unknown][]} */ ([
  ['token_lifetime', lifetime],
  ['granted_scope', grantedScope],
  ['audience', strings],
  ['authorization_details', details],
  ['claims', claims],
  ['crit', strings],
]));

/**
 * The requirements, all of them or none: half of a step-up would send the user to sign in for nothing.
 *
 * @param {unknown} value
 * @returns {Requirement[]}
 */
function requirements(value) {
  return Array.isArray(value) && value.every((one) => one === 'consent' || isSignIn(one)) ? value : [];
}

/** @param {unknown} value */
function isSignIn(value) {
  if (!isObject(value)) return false;
  const names = Object.keys(value);
  if (names.length === 0 || !names.every((name) => SIGN_IN.includes(name))) return false;
  if (names.includes('max_age') && !isWhole(value['max_age'])) return false;
  // They go into space-delimited parameters (OpenID Connect Core 1.0, section 3.1.2.1).
  return ['acr_values', 'amr'].filter((name) => names.includes(name)).every((name) => {
    const list = value[name];
    return isTexts(list) && list.length > 0 && list.every((one) => /^[!-~]+$/.test(one));
  });
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isWhole(value) {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

/**
 * @param {unknown} value
 * @returns {value is string}
 */
function isText(value) {
  return typeof value === 'string' && value !== '';
}

/**
 * @param {unknown} value
 * @returns {value is string[]}
 */
function isTexts(value) {
  return Array.isArray(value) && value.every(isText);
}
