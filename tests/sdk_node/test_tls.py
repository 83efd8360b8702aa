"""Over TLS: the server's own authorities count, and a certificate that does not verify is no decision."""

import ssl
import subprocess
from pathlib import Path

import trustme

from tests.pep.pdp import stand_in
from tests.sdk_node.build import PACKAGE, node

PROGRAM = """
import { readFileSync } from 'node:fs';
import { Enforcer } from './src/index.js';
const [url, ca] = process.argv.slice(1);
const wish = {
  subject: { type: 'client', id: 'c' },
  clientId: 'c',
  grantType: 'client_credentials',
  audience: ['https://t'],
  scopes: ['a'],
};
for (const tls of [{ ca: readFileSync(ca) }, {}]) {
  const enforcer = new Enforcer({ url, deadlineMs: 20000, tls });
  console.log(await enforcer.ask(wish).then((answer) => answer.kind, (fault) => `${fault.name} ${fault.error}`));
  enforcer.close();
}
"""


def test_only_a_certificate_that_verifies(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with stand_in(tls=context) as pdp:
        command = [node().node, "--input-type=module", "--eval", PROGRAM, pdp.url, str(tmp_path / "ca.pem")]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=40, check=False)
    assert done.stdout.split("\n") == ["mint", "NoDecision temporarily_unavailable", ""], done.stderr
    assert len(pdp.requests) == 1
