/**
 * What the client is told when nothing is minted. Nothing that a policy wrote gets into it.
 *
 * RFC 6749, section 5.2, has no `access_denied` for the token endpoint; this library says it there all the same, as the
 * profile's short word for a closed gate.
 */

/** @typedef {import('./wish.js').Asking} Asking */
/** @typedef {import('./reply.js').Requirement} Requirement */
/**
 * What would turn a denial into a permit, for a new authorization request.
 *
 * `acrValues`: one of them will do, `amr`: all of them are needed, `maxAge` in seconds.
 *
 * @typedef {{ consent: boolean, acrValues: string[], maxAge?: number, amr: string[] }} StepUp
 */
/**
 * Nothing is minted. `error` and `description` are for the client; `reason` and the ids for the server's log.
 *
 * `stepUp` says what a new sign-in or consent needs. Its values are the PDP's; a server that passes them on as
 * `acr_values` and `max_age` tells the client which sign-in a policy asks for.
 *
 * @typedef {{
 *   kind: 'refusal', error: keyof typeof TEXTS, description: string, reason: string, stepUp?: StepUp,
 *   decisionIds: string[],
 * }} Refusal
 */

const TEXTS = Object.freeze({
  access_denied: 'the token may not be issued',
  invalid_scope: 'none of the scopes may be issued',
  invalid_target: 'the token may not be issued for this target',
  invalid_authorization_details: 'the authorization details may not be granted',
  invalid_request: 'the request may not be fulfilled',
  invalid_grant: 'the sign-in or the consent does not suffice',
  unmet_authentication_requirements: 'the sign-in does not suffice',
  consent_required: 'the user must consent',
});

/** Nothing is minted, and `refusal` says why. Does not leave this library. */
export class Denied extends Error {
  /** @param {Refusal} refusal */
  constructor(refusal) {
    super(refusal.reason);
    this.refusal = refusal;
  }
}

/**
 * @param {keyof typeof TEXTS} error
 * @param {string} reason
 * @param {StepUp} [stepUp]
 * @returns {Refusal}
 */
export function refusal(error, reason, stepUp) {
  return { kind: 'refusal', error, description: TEXTS[error], reason, ...(stepUp && { stepUp }), decisionIds: [] };
}

/**
 * The refusal of a whole request. In an exchange it never tells whose gate was closed.
 *
 * @param {Asking} asking
 * @param {string} reason
 */
export function denied(asking, reason) {
  return refusal(asking.grantType === 'token_exchange' ? 'invalid_request' : 'access_denied', reason);
}

/**
 * The refusal that a better sign-in or a consent would mend.
 *
 * @param {Asking} asking
 * @param {StepUp} stepUp
 * @param {string} reason
 */
export function waits(asking, stepUp, reason) {
  if (asking.endpoint !== 'authorization') return refusal('invalid_grant', reason, stepUp);
  const { consent, acrValues, maxAge, amr } = stepUp;
  const onlyConsent = consent && acrValues.length === 0 && maxAge === undefined && amr.length === 0;
  return refusal(onlyConsent ? 'consent_required' : 'unmet_authentication_requirements', reason, stepUp);
}

/**
 * One step-up that meets all `requirements` (checked ones, see reply.js); undefined: no single sign-in could.
 *
 * @param {readonly Requirement[]} requirements
 * @returns {StepUp | undefined}
 */
export function together(requirements) {
  let consent = false;
  /** @type {number | undefined} */
  let maxAge;
  /** @type {string[] | undefined} */
  let acrValues;
  /** @type {Set<string>} */
  const amr = new Set();
  for (const one of requirements) {
    if (one === 'consent') {
      consent = true;
      continue;
    }
    if (one.acr_values) {
      const named = [...new Set(one.acr_values)];
      acrValues = acrValues ? acrValues.filter((acr) => named.includes(acr)) : named;
    }
    if (one.max_age !== undefined) maxAge = Math.min(maxAge ?? one.max_age, one.max_age);
    for (const method of one.amr ?? []) amr.add(method);
  }
  if (acrValues?.length === 0) return undefined;
  return { consent, acrValues: acrValues ?? [], ...(maxAge !== undefined && { maxAge }), amr: [...amr] };
}
