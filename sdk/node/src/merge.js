/**
 * All answers become one: what to mint, or why nothing is. Pure; the heart of this library, read it after wish.js.
 *
 * A closed gate ends it. A scope is granted where every party and every target of the first level permits it; the second
 * level narrows. What items say about the token beyond that is merged in shape.js.
 */

import { Denied, denied, refusal, together, waits } from './refuse.js';
import * as shape from './shape.js';

/** @typedef {import('./batch.js').Batch} Batch */
/** @typedef {import('./details.js').Detail} Detail */
/** @typedef {import('./refuse.js').Refusal} Refusal */
/** @typedef {import('./refuse.js').StepUp} StepUp */
/** @typedef {import('./reply.js').Item} Item */
/** @typedef {import('./shape.js').Answer} Answer */
/** @typedef {import('./shape.js').Understood} Understood */
/** @typedef {import('./wish.js').Asking} Asking */
/**
 * Exactly what to mint: one token, now.
 *
 * `stateScope`: the response must have `scope` (RFC 6749, section 5.1). `resources`: what is left of the second
 * level. `lifetime` in seconds; without it neither the server nor the PDP bounds it. `claims` are added to the server's
 * own, and those in `crit` must be heeded. `waiting`: what the scopes left out would need, where a sign-in or consent
 * would mend it. `decisionIds`: where the PDP keeps its records, for the server's log.
 *
 * @typedef {object} Mint
 * @property {'mint'} kind
 * @property {string[]} scopes
 * @property {boolean} stateScope
 * @property {string[]} audience
 * @property {string[]} resources
 * @property {number} [lifetime]
 * @property {Detail[]} authorizationDetails
 * @property {Record<string, unknown>} claims
 * @property {string[]} crit
 * @property {StepUp} [waiting]
 * @property {string[]} decisionIds
 */

/**
 * What `items`, the answers to `batch`, allow of the wish.
 *
 * @param {Asking} asking
 * @param {Batch} batch
 * @param {readonly Item[]} items as many as tuples
 * @param {Understood} understood
 * @returns {Mint | Refusal}
 */
export function merge(asking, batch, items, understood) {
  const answers = items.flatMap((item, n) => {
    const asked = batch.tuples[n];
    return asked ? [{ asked, item }] : [];
  });
  try {
    return mint(asking, answers, understood);
  } catch (error) {
    if (error instanceof Denied) return { ...error.refusal, decisionIds: decisionIds(answers) };
    throw error;
  }
}

/**
 * @param {Asking} asking
 * @param {readonly Answer[]} answers
 * @param {Understood} understood
 * @returns {Mint}
 */
function mint(asking, answers, understood) {
  gates(asking, answers);
  const permitted = answers.filter(({ item }) => item.permitted);
  const reach = reached(asking, answers);
  const scopes = shape.granted(asking, reach.scopes, permitted);
  const { audience, resources } = shape.targets(asking, reach, permitted);
  const adding = shape.adding(permitted, scopes, [...audience, ...resources]);
  const { claims, crit } = shape.claims(asking, adding, understood);
  const lifetime = shape.lifetime(asking, permitted);
  const missed = answers.filter(({ asked }) => asked.scope === undefined || !scopes.includes(asked.scope));
  const waiting = stepUp(asking, waitingItems(missed));
  return {
    kind: 'mint',
    scopes,
    stateScope: scopes.length !== asking.scopes.length || !asking.scopes.every((scope) => scopes.includes(scope)),
    audience,
    resources,
    ...(lifetime !== undefined && { lifetime }),
    authorizationDetails: shape.authorizationDetails(asking, adding, understood),
    claims,
    crit,
    ...(waiting && { waiting }),
    decisionIds: decisionIds(answers),
  };
}

/**
 * @param {Asking} asking
 * @param {readonly Answer[]} answers
 */
function gates(asking, answers) {
  const closed = answers.filter(({ asked, item }) => asked.scope === undefined && !item.permitted).map(({ item }) => item);
  if (closed.length === 0) return;
  // One sign-in for all that waits, where one will do.
  const alone = stepUp(asking, closed);
  const needed = alone && (stepUp(asking, [...closed, ...waitingItems(answers)]) ?? alone);
  if (!needed || asking.grantType === 'token_exchange') throw new Denied(denied(asking, 'a gate is closed'));
  throw new Denied(waits(asking, needed, 'a gate waits for a sign-in or consent'));
}

/**
 * What is left of scopes and resources. Without scopes nothing was said about resources: they only narrow.
 *
 * @param {Asking} asking
 * @param {readonly Answer[]} answers
 * @returns {import('./shape.js').Reach}
 */
function reached(asking, answers) {
  if (asking.asked.length === 0) return { scopes: [], resources: asking.resources };
  const refused = new Set(answers.filter(({ item }) => !item.permitted)
    .map(({ asked }) => JSON.stringify([asked.level, asked.target, asked.scope])));
  /** @type {(level: number, target: string, scope: string) => boolean} */
  const open = (level, target, scope) => !refused.has(JSON.stringify([level, target, scope]));
  let scopes = asking.asked.filter((scope) => asking.targets.every((target) => open(1, target, scope)));
  let left = asking.resources;
  if (scopes.length > 0 && left.length > 0) {
    left = left.filter((resource) => scopes.some((scope) => open(2, resource, scope)));
    if (left.length === 0) {
      throw nothing(asking, answers, refusal('invalid_target', 'no resource of the second level is left'));
    }
    scopes = scopes.filter((scope) => left.every((resource) => open(2, resource, scope)));
  }
  if (scopes.length === 0) throw nothing(asking, answers, refusal('invalid_scope', 'no scope is granted'));
  return { scopes, resources: left };
}

/**
 * No scope is left: the step-up that would mend it, else `flat`.
 *
 * @param {Asking} asking
 * @param {readonly Answer[]} answers
 * @param {Refusal} flat
 */
function nothing(asking, answers, flat) {
  const waiting = stepUp(asking, waitingItems(answers));
  return new Denied(waiting ? waits(asking, waiting, 'the scopes wait for a sign-in or consent') : flat);
}

/**
 * The items of the scopes that nothing but a sign-in or consent stands in the way of.
 *
 * @param {readonly Answer[]} answers
 * @returns {Item[]}
 */
function waitingItems(answers) {
  /** @type {Map<string, Item[]>} */
  const refused = new Map();
  for (const { asked, item } of answers) {
    if (asked.scope !== undefined && !item.permitted) {
      refused.set(asked.scope, [...(refused.get(asked.scope) ?? []), item]);
    }
  }
  // A scope that is also flatly denied somewhere would be asked for in vain.
  return [...refused.values()].filter((items) => items.every((item) => item.require.length > 0)).flat();
}

/**
 * One step-up for all of `items`; undefined when one of them is flatly denied, or when there is no user to sign in.
 *
 * @param {Asking} asking
 * @param {readonly Item[]} items
 * @returns {StepUp | undefined}
 */
function stepUp(asking, items) {
  if (asking.subject.type !== 'user' || items.length === 0 || items.some((item) => item.require.length === 0)) {
    return undefined;
  }
  return together(items.flatMap((item) => item.require));
}

/** @param {readonly Answer[]} answers */
function decisionIds(answers) {
  return [...new Set(answers.flatMap(({ item }) => item.decisionId ?? []))];
}
