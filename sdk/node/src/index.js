/**
 * For authorization servers on Node: asks an AuthZEN PDP before a token is minted, and says what to mint.
 *
 * Speaks the AuthZEN profile for OAuth 2.0 token issuance, and its binding for token exchange, to any PDP. Needs nothing
 * but Node. Start with enforcer.js; oidc-provider.js makes the two hooks of the package `oidc-provider` of it.
 */

export { Enforcer } from './enforcer.js';
export { BadReply, EnforcerFault, Misuse, NoDecision } from './fault.js';

/** @typedef {import('./client.js').Pdp} Pdp */
/** @typedef {import('./details.js').Detail} Detail */
/** @typedef {import('./merge.js').Mint} Mint */
/** @typedef {import('./refuse.js').Refusal} Refusal */
/** @typedef {import('./refuse.js').StepUp} StepUp */
/** @typedef {import('./shape.js').Understood} Understood */
/** @typedef {import('./wish.js').Exchange} Exchange */
/** @typedef {import('./wish.js').Party} Party */
/** @typedef {import('./wish.js').Wish} Wish */
