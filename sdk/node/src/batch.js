/**
 * A wish becomes one request to the PDP: gates first, then one tuple for each scope.
 *
 * Everything that decides stands in (subject, action, resource); the context is advisory and holds the profile's own
 * keys, and the requested `authorization_details`, for which the profile has none.
 */

import { isDetail } from './details.js';
import { Misuse } from './fault.js';
import { refusal } from './refuse.js';
import { isScope } from './wish.js';

/** @typedef {import('./wish.js').Asking} Asking */
/** @typedef {import('./wish.js').Party} Party */
/** @typedef {import('./refuse.js').Refusal} Refusal */
/**
 * One tuple. `scope` is undefined on a gate; `level` 2 are the resources behind the target.
 *
 * @typedef {{ subject: Party, action: string, target: string, scope?: string, level: 1 | 2 }} Asked
 */
/**
 * What is asked, in order, and the body that asks it. `single`: by the evaluation API, which has no array.
 *
 * @typedef {{ kind: 'batch', tuples: Asked[], body: string, single: boolean }} Batch
 */

export const CAPABILITY = 'urn:ietf:params:authzen:token-issuance';
export const MAX_TUPLES = 200;

/**
 * The request; or the refusal where the client asks for what must not even be asked.
 *
 * Throws Misuse when something of the server's own is no JSON.
 *
 * @param {Asking} asking
 * @param {{ capabilities?: readonly string[], maxTuples?: number }} [options]
 * @returns {Batch | Refusal}
 */
export function build(asking, { capabilities = [CAPABILITY], maxTuples = MAX_TUPLES } = {}) {
  const reason = unaskable(asking, maxTuples);
  if (reason) return reason;
  const { targets, resources, asked, needsBoth } = asking;
  const parties = asking.requesting ? 2 : 1;
  const size = targets.length * parties + (targets.length + resources.length) * (needsBoth ? 2 : 1) * asked.length;
  if (size > maxTuples) return refusal('invalid_request', `more than ${maxTuples} tuples`);
  const tuples = [...gates(asking), ...scopes(asking)];
  const context = contextOf(asking, capabilities);
  const single = tuples.length === 1;
  const [first] = tuples;
  return { kind: 'batch', tuples, body: json(single && first ? one(first, context) : several(tuples, context)), single };
}

/**
 * @param {Asking} asking
 * @param {number} maxTuples
 */
function unaskable({ scopes: named, targets, resources, details, asked }, maxTuples) {
  if (!named.every(isScope)) {
    return refusal('invalid_scope', 'a scope is not a scope-token, or begins with issue:');
  }
  if ([...targets, ...resources].includes('')) return refusal('invalid_target', 'a target is empty');
  if (!details.every(isDetail)) return refusal('invalid_authorization_details', 'an entry has no type');
  if (Math.max(asked.length, targets.length, details.length) > maxTuples) {
    return refusal('invalid_request', `more than ${maxTuples} scopes, targets or details`);
  }
  return undefined;
}

/**
 * @param {Asking} asking
 * @returns {Asked[]}
 */
function gates({ subject, requesting, gate, targets }) {
  const parties = requesting ? [subject, requesting] : [subject];
  return targets.flatMap((target) => parties.map((party) => ({ subject: party, action: gate, target, level: 1 })));
}

/**
 * @param {Asking} asking
 * @returns {Asked[]}
 */
function scopes({ subject, requesting, needsBoth, targets, resources, asked }) {
  const parties = needsBoth && requesting ? [subject, requesting] : [subject];
  /** @type {[1 | 2, string][]} */
  const places = [...targets.map((target) => at(1, target)), ...resources.map((target) => at(2, target))];
  return places.flatMap(([level, target]) =>
    parties.flatMap((party) => asked.map((scope) => ({ subject: party, action: scope, target, scope, level }))));
}

/**
 * @param {1 | 2} level
 * @param {string} target
 * @returns {[1 | 2, string]}
 */
function at(level, target) {
  return [level, target];
}

/**
 * @param {Asking} asking
 * @param {readonly string[]} capabilities
 */
function contextOf({ wish, details }, capabilities) {
  const { exchange } = wish;
  // Members that are undefined do not go out.
  return {
    client_id: wish.clientId,
    acr: wish.acr,
    amr: wish.amr,
    auth_time: wish.authTime,
    cnf: wish.cnf,
    authorization_details: details.length > 0 ? details : undefined,
    subject_token_type: exchange?.subjectTokenType,
    actor_token_type: exchange?.actorTokenType,
    subject_token: exchange?.subjectToken,
    act: exchange?.act,
    may_act: exchange?.mayAct,
    issuance: capabilities.length > 0 ? { capabilities } : undefined,
  };
}

/**
 * @param {Asked} asked
 * @param {object} context
 */
function one(asked, context) {
  return {
    subject: subjectOf(asked.subject),
    action: { name: asked.action },
    resource: { type: 'audience', id: asked.target },
    context,
  };
}

/**
 * What is the same in all items stands once, as a default; what differs stands whole in each.
 *
 * @param {Asked[]} tuples
 * @param {object} context
 */
function several(tuples, context) {
  const [first] = tuples;
  if (!first) throw new Misuse('nothing is asked');
  const oneSubject = tuples.every((asked) => same(asked.subject, first.subject));
  const oneTarget = tuples.every((asked) => asked.target === first.target);
  return {
    subject: oneSubject ? subjectOf(first.subject) : undefined,
    resource: oneTarget ? { type: 'audience', id: first.target } : undefined,
    context,
    evaluations: tuples.map((asked) => ({
      subject: oneSubject ? undefined : subjectOf(asked.subject),
      action: { name: asked.action },
      resource: oneTarget ? undefined : { type: 'audience', id: asked.target },
    })),
    options: { evaluations_semantic: 'execute_all' },
  };
}

/**
 * Whether both are the same party, whatever their properties.
 *
 * @param {Party} one
 * @param {Party} other
 */
export function same(one, other) {
  return one.type === other.type && one.id === other.id;
}

/** @param {Party} party */
function subjectOf({ type, id, properties }) {
  return { type, id, properties };
}

/** @param {object} body */
function json(body) {
  try {
    return JSON.stringify(body, faithful);
  } catch (error) {
    throw new Misuse('the wish holds something that is no JSON', { cause: error });
  }
}

/**
 * JSON.stringify turns what is no JSON into null, or leaves it out; here it is refused.
 *
 * @param {string} _
 * @param {unknown} value
 */
function faithful(_, value) {
  if (typeof value === 'function' || typeof value === 'symbol' || (typeof value === 'number' && !Number.isFinite(value))) {
    throw new TypeError(`a ${typeof value}`);
  }
  return value;
}
