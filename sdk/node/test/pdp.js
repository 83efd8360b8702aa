/** A PDP of the tests' own on a real socket: it answers what a test says, byte by byte if need be. */

import { createServer } from 'node:net';

export const TARGET = 'https://metrics.example';

/**
 * @typedef {{ line: string, headers: Record<string, string>, body: any }} Request
 * @typedef {(request: Request) => string | Buffer | AsyncIterable<string | Buffer>} Answer
 */

/**
 * A whole HTTP response.
 *
 * @param {unknown} value text and bytes go out as they are, anything else as JSON
 * @param {{ status?: number, headers?: Record<string, string> }} [head]
 */
export function response(value, { status = 200, headers = {} } = {}) {
  const body = Buffer.isBuffer(value) ? value : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  const all = { 'Content-Type': 'application/json', 'Content-Length': body.length, ...headers };
  const lines = [`HTTP/1.1 ${status} X`, ...Object.entries(all).map(([name, said]) => `${name}: ${said}`)];
  return Buffer.concat([Buffer.from([...lines, '', ''].join('\r\n')), body]);
}

/** @type {Answer} */
export function permitAll({ body }) {
  return response(body.evaluations
    ? { evaluations: body.evaluations.map(() => ({ decision: true })) }
    : { decision: true });
}

/**
 * Runs `use` with a PDP that listens; its `answer` may be changed at any time.
 *
 * @param {(pdp: { url: string, answer: Answer, requests: Request[] }) => Promise<void>} use
 */
export async function withPdp(use) {
  /** @type {Set<import('node:net').Socket>} */
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let seen = Buffer.alloc(0);
    socket.on('data', async (part) => {
      seen = Buffer.concat([seen, part]);
      const [head = '', ...rest] = seen.toString('latin1').split('\r\n\r\n');
      const [line = '', ...lines] = head.split('\r\n');
      const headers = Object.fromEntries(lines.map((said) => [said.split(': ')[0]?.toLowerCase(), said.split(': ')[1]]));
      const body = rest.join('\r\n\r\n');
      if (rest.length === 0 || body.length < Number(headers['content-length'])) return;
      seen = Buffer.alloc(0);
      const request = { line, headers, body: JSON.parse(Buffer.from(body, 'latin1').toString()) };
      pdp.requests.push(request);
      const answer = pdp.answer(request);
      if (typeof answer === 'string' || Buffer.isBuffer(answer)) {
        socket.write(answer);
      } else {
        for await (const one of answer) {
          if (socket.destroyed) break;
          socket.write(one);
        }
        socket.destroy();
      }
    });
  });
  await new Promise((listening) => { server.listen(0, '127.0.0.1', () => listening(undefined)); });
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  /** @type {{ url: string, answer: Answer, requests: Request[] }} */
  const pdp = { url: `http://127.0.0.1:${port}`, answer: permitAll, requests: [] };
  try {
    await use(pdp);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/**
 * A client that wants an access token for itself; `members` are laid on top.
 *
 * @param {readonly string[]} scopes
 * @param {Partial<import('../src/wish.js').Wish>} [members]
 * @returns {import('../src/wish.js').Wish}
 */
export function wish(scopes, members = {}) {
  return {
    subject: { type: 'client', id: 'nightly-job' }, clientId: 'nightly-job', grantType: 'client_credentials',
    audience: [TARGET], scopes, ...members,
  };
}

/**
 * Numbers from 0 to `below`, the same each time (mulberry32).
 *
 * @param {number} seed
 * @returns {(below: number) => number}
 */
export function dice(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
