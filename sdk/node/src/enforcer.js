/**
 * The one thing that an authorization server calls: a wish in, what to mint or a refusal out.
 *
 * Read in this order: wish.js, batch.js, client.js, reply.js, merge.js, shape.js, refuse.js. Whatever goes wrong is an
 * EnforcerFault, and an EnforcerFault means: mint nothing. There is no cache, no retry and no fallback, since each
 * would be a yes that nobody gave.
 */

import { randomUUID } from 'node:crypto';

import { build } from './batch.js';
import { Client } from './client.js';
import { EnforcerFault, NoDecision } from './fault.js';
import { merge } from './merge.js';
import { read } from './reply.js';
import { asking } from './wish.js';

/** @typedef {import('./client.js').Pdp} Pdp */
/** @typedef {import('./merge.js').Mint} Mint */
/** @typedef {import('./refuse.js').Refusal} Refusal */
/** @typedef {import('./shape.js').Understood} Understood */
/** @typedef {import('./wish.js').Wish} Wish */

/** Asks `pdp`. `capabilities` are what the PDP is told that this server understands. */
export class Enforcer {
  #client;
  #understood;
  #options;

  /**
   * @param {Pdp} pdp
   * @param {Understood} [understood]
   * @param {{ capabilities?: readonly string[], maxTuples?: number }} [options]
   */
  constructor(pdp, understood = {}, options = {}) {
    this.#client = new Client(pdp);
    this.#understood = understood;
    this.#options = options;
  }

  /**
   * What to mint, or what to tell the client. Rejects with NoDecision or Misuse: then nothing may be minted.
   *
   * @param {Wish} wish
   * @returns {Promise<Mint | Refusal>}
   */
  async ask(wish) {
    try {
      const known = asking(wish);
      const batch = build(known, this.#options);
      if (batch.kind === 'refusal') return batch;
      const body = await this.#client.ask(batch.body, { single: batch.single, requestId: wish.requestId ?? randomUUID() });
      return merge(known, batch, read(body, batch), this.#understood);
    } catch (error) {
      if (error instanceof EnforcerFault) throw error;
      // A defect of ours, or of a validator, must not look like anything else.
      throw new NoDecision('defect in the enforcer', 'server_error', { cause: error });
    }
  }

  /** Ends the connections. */
  close() {
    this.#client.close();
  }
}
