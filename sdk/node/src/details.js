/** Rich authorization requests (RFC 9396): each returned entry must lie within one requested entry of its type. */

import { isObject, typed } from './strict-json.js';

/** @typedef {Record<string, unknown> & { type: string }} Detail */
/**
 * (requested, returned) -> whether `returned` is not broader, in the members that only its type knows.
 *
 * @typedef {(requested: Detail, returned: Detail) => boolean} Validator
 */

const COMMON = ['locations', 'actions', 'datatypes'];

/**
 * Whether `value` is an object with a `type`.
 *
 * @param {unknown} value
 * @returns {value is Detail}
 */
export function isDetail(value) {
  return isObject(value) && Object.hasOwn(value, 'type') && typeof value['type'] === 'string';
}

/**
 * Whether one requested entry covers `returned`.
 *
 * The lists that all types share are subsets. Other members are equal, unless the type has a validator, which then
 * judges them. No member is left out, and no list becomes empty: both could be read as "anything".
 *
 * @param {Detail} returned
 * @param {readonly Detail[]} requested
 * @param {Readonly<Record<string, Validator>>} validators
 */
export function covered(returned, requested, validators) {
  const validator = Object.hasOwn(validators, returned.type) ? validators[returned.type] : undefined;
  return requested.some((entry) => entry.type === returned.type && within(returned, entry, validator));
}

/**
 * All entries, once each.
 *
 * @param {readonly (readonly Detail[])[]} parts
 * @returns {Detail[]}
 */
export function union(parts) {
  return [...new Map(parts.flat().map((entry) => [typed(entry), entry])).values()];
}

/**
 * @param {Detail} returned
 * @param {Detail} requested
 * @param {Validator | undefined} validator
 */
function within(returned, requested, validator) {
  if (!COMMON.every((name) => narrower(returned, requested, name))) return false;
  if (others(returned) === others(requested)) return true;
  return validator !== undefined && validator(requested, returned) === true;
}

/**
 * @param {Detail} returned
 * @param {Detail} requested
 * @param {string} name
 */
function narrower(returned, requested, name) {
  if (Object.hasOwn(returned, name) !== Object.hasOwn(requested, name)) return false;
  const value = returned[name];
  const wanted = requested[name];
  if (Array.isArray(value) && Array.isArray(wanted) && value.length > 0) {
    const known = new Set(wanted.map(typed));
    return value.every((one) => known.has(typed(one)));
  }
  return typed(value) === typed(wanted);
}

/** @param {Detail} entry */
function others(entry) {
  return typed(Object.fromEntries(Object.entries(entry).filter(([name]) => !COMMON.includes(name))));
}
