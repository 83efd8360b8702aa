/** What can go wrong when a PDP is asked. A denial is not here: a denial is a value (see refuse.js). */

/** Root of all that this library throws. Whatever it is, nothing may be minted. */
export class EnforcerFault extends Error {
  /**
   * @param {string} text
   * @param {ErrorOptions} [options]
   */
  constructor(text, options) {
    super(text, options);
    this.name = new.target.name;
  }
}

/** The authorization server asks for what cannot be asked; the text says what to change in its code. */
export class Misuse extends EnforcerFault {}

/**
 * There is no decision to go by. `message` is for the operator's log and holds nothing that the PDP wrote.
 *
 * `error` is the OAuth error for the client: `temporarily_unavailable` where asking again may help, else `server_error`.
 */
export class NoDecision extends EnforcerFault {
  /**
   * @param {string} text
   * @param {'temporarily_unavailable' | 'server_error'} [error]
   * @param {ErrorOptions} [options]
   */
  constructor(text, error = 'temporarily_unavailable', options) {
    super(text, options);
    this.error = error;
  }
}

/** The PDP answered something that is no decision on what was asked. */
export class BadReply extends NoDecision {
  /** @param {string} text */
  constructor(text) {
    super(text, 'server_error');
  }
}
