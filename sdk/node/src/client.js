/**
 * HTTP to the PDP (Authorization API 1.0). Whatever is not a whole 200 with JSON, in time, is no decision.
 *
 * node:http itself, not fetch: it follows no redirect, undoes no compression, takes the server's own certificates, and an
 * agent of our own listens to no proxy of the environment.
 */

import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';

import { BadReply, EnforcerFault, Misuse, NoDecision } from './fault.js';

/**
 * Where the PDP is, and how long it is waited for. Plain http is for loopback alone: the API requires TLS.
 *
 * Either `url`, with the API's default paths, or both endpoints. `deadlineMs` is for the whole exchange. `tls` holds other
 * authorities or a client certificate of the server's own.
 *
 * @typedef {object} Pdp
 * @property {string} [url]
 * @property {string} [evaluationUrl]
 * @property {string} [evaluationsUrl]
 * @property {string} [token]
 * @property {number} [deadlineMs]
 * @property {number} [maxReplyBytes]
 * @property {Pick<https.AgentOptions, 'ca' | 'cert' | 'key' | 'passphrase'>} [tls]
 */

const DEADLINE_MS = 2000;
const MAX_DEADLINE_MS = 60_000;
const MAX_REPLY_BYTES = 1024 * 1024;
/** Idle connections are ended before common servers end them, so that no question meets a closing one. */
const IDLE_MS = 4000;
/** Statuses that may pass by themselves. */
const AGAIN = [408, 429, 500, 502, 503, 504];

/** Asks the PDP. */
export class Client {
  #evaluation;
  #evaluations;
  #deadlineMs;
  #maxReplyBytes;
  #headers;
  #agents;

  /** @param {Pdp} pdp */
  constructor(pdp) {
    const base = pdp.url === undefined ? undefined : `${pdp.url.replace(/\/+$/, '')}/access/v1`;
    this.#evaluation = endpoint(pdp.evaluationUrl ?? (base && `${base}/evaluation`));
    this.#evaluations = endpoint(pdp.evaluationsUrl ?? (base && `${base}/evaluations`));
    this.#deadlineMs = positive('deadlineMs', pdp.deadlineMs ?? DEADLINE_MS, MAX_DEADLINE_MS);
    this.#maxReplyBytes = positive('maxReplyBytes', pdp.maxReplyBytes ?? MAX_REPLY_BYTES, 2 ** 30);
    if (pdp.token !== undefined && !/^[!-~]+$/.test(pdp.token)) throw new Misuse('token is printable ASCII');
    this.#headers = {
      'Content-Type': 'application/json',
      Accept: 'application/json',
      'Accept-Encoding': 'identity',
      ...(pdp.token !== undefined && { Authorization: `Bearer ${pdp.token}` }),
    };
    const options = { keepAlive: true, timeout: IDLE_MS };
    this.#agents = { http: new http.Agent(options), https: new https.Agent({ ...options, ...pdp.tls }) };
  }

  /**
   * The body of the reply. Rejects with NoDecision.
   *
   * @param {string} body
   * @param {{ single: boolean, requestId: string }} how
   * @returns {Promise<Uint8Array>}
   */
  ask(body, { single, requestId }) {
    const url = single ? this.#evaluation : this.#evaluations;
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const request = (secure ? https : http).request(url, {
        method: 'POST',
        agent: secure ? this.#agents.https : this.#agents.http,
        headers: { ...this.#headers, 'X-Request-ID': requestId, 'Content-Length': Buffer.byteLength(body) },
      });
      /** @param {Error} error */
      const fail = (error) => {
        clearTimeout(timer);
        reject(error instanceof EnforcerFault ? error : new NoDecision(
          `the PDP did not answer: ${Reflect.get(error, 'code') ?? error.name}`, undefined, { cause: error }));
        request.destroy();
      };
      const timer = setTimeout(() => fail(new NoDecision(`the PDP did not answer within ${this.#deadlineMs} ms`)), this.#deadlineMs);
      request.on('error', fail);
      request.on('response', (response) => {
        response.on('error', fail);
        const reason = unusable(response, requestId);
        if (reason) fail(reason);
        else this.#collect(response, fail, (whole) => {
          clearTimeout(timer);
          resolve(whole);
        });
      });
      request.end(body);
    });
  }

  /** Ends the connections. */
  close() {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  /**
   * @param {http.IncomingMessage} response
   * @param {(error: Error) => void} fail
   * @param {(body: Uint8Array) => void} done
   */
  #collect(response, fail, done) {
    /** @type {Buffer[]} */
    const parts = [];
    let size = 0;
    response.on('data', (/** @type {Buffer} */ part) => {
      parts.push(part);
      size += part.length;
      if (size > this.#maxReplyBytes) fail(new BadReply(`the reply is larger than ${this.#maxReplyBytes} bytes`));
    });
    response.on('end', () => {
      if (response.complete) done(Buffer.concat(parts));
      else fail(new NoDecision('the PDP did not answer: the reply broke off'));
    });
  }
}

/**
 * What is wrong with the head of the reply.
 *
 * @param {http.IncomingMessage} response
 * @param {string} requestId
 */
function unusable({ statusCode, headers }, requestId) {
  if (AGAIN.includes(statusCode ?? 0)) return new NoDecision(`the PDP answered ${statusCode}`);
  if (statusCode !== 200) return new BadReply(`the PDP answered ${statusCode}`);
  if (headers['content-type']?.split(';')[0]?.trim().toLowerCase() !== 'application/json') {
    return new BadReply('the reply is not application/json');
  }
  if ((headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') {
    return new BadReply('the reply is compressed, which was not asked for');
  }
  if ((headers['x-request-id'] ?? requestId) !== requestId) return new BadReply('the reply is to another request');
  return undefined;
}

/**
 * @param {string | undefined} text
 * @returns {URL}
 */
function endpoint(text) {
  const url = URL.canParse(text ?? '') ? new URL(text ?? '') : undefined;
  const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
  const loopback = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  if (!url || url.username || url.password || !(url.protocol === 'https:' || (url.protocol === 'http:' && loopback))) {
    throw new Misuse("the PDP's endpoints are https URLs, or http on loopback, without a user");
  }
  return url;
}

/**
 * @param {string} name
 * @param {number} value
 * @param {number} most
 */
function positive(name, value, most) {
  if (!Number.isSafeInteger(value) || value < 1 || value > most) throw new Misuse(`${name} is a whole number from 1 to ${most}`);
  return value;
}
