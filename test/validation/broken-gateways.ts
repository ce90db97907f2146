/** TABLE of mistakes in Gateways. */
import type { Broken } from './edit.ts'

const FILE = 'gateway.yaml'
const MODE = 'mode: ISTIO_MUTUAL'

/** An edit of walk-through 001's Gateway resource, whose file is called like the bootstrap: it is named by its folder. */
function row(mistake: string, from: string, to: string, code: Broken[6], severity: Broken[5] = 'error'): Broken {
  return [mistake, 'seed-001', `resources/${FILE}`, from, to, severity, code]
}

/** Walk-through 002's, which has files of its own for certificates. */
function own(mistake: string, from: string, to: string, code: Broken[6], severity: Broken[5] = 'error'): Broken {
  return [mistake, 'seed-002-tls-mtls', 'egress.yaml', from, to, severity, code]
}

export const BROKEN_GATEWAYS: readonly Broken[] = [
  row('a port of 0', 'number: 80', 'number: ▸0', 'SP1000'),
  row('a port that is a word', 'number: 80', 'number: ▸http', 'SP1000'),
  row('a port without a number', '- port:\n        number: 80', '- ▸port:', 'SP1033'),
  row('a port name with a dot', 'name: http', 'name: ▸http.1', 'SP4000'),
  row('a protocol that is none', 'protocol: HTTPS', 'protocol: ▸HTTTPS', 'SP4000'),
  row('a protocol that Gateways do not know', 'protocol: HTTPS', 'protocol: ▸UDP', 'SP4000'),
  row('tls on a server of protocol HTTP', 'protocol: HTTPS\n      tls:', 'protocol: HTTP\n      ▸tls:', 'SP4001'),
  row(
    'no tls on a server of protocol HTTPS',
    '- port:\n        number: 80\n        name: http\n        protocol: HTTPS\n      tls:\n        mode: ISTIO_MUTUAL\n',
    '- ▸port:\n        number: 80\n        name: http\n        protocol: HTTPS\n',
    'SP4001',
  ),
  row('a mode that is none', MODE, 'mode: ▸ISTIO_MUTAL', 'SP1000'),
  row('AUTO_PASSTHROUGH', MODE, 'mode: ▸AUTO_PASSTHROUGH', 'SP4003'),
  row('SIMPLE without a certificate', MODE, 'mode: ▸SIMPLE', 'SP4002'),
  row(
    'MUTUAL without a CA',
    MODE,
    'mode: ▸MUTUAL\n        serverCertificate: /c.pem\n        privateKey: /k.pem',
    'SP4002',
  ),
  row('an unknown field in tls', MODE, `${MODE}\n        ▸minProtocolVersoin: TLSV1_3`, 'SP1030'),
  row('a field of another kind in tls', MODE, `${MODE}\n        ▸sni: www.aliyun.com`, 'SP1030'),
  row('ISTIO_MUTUAL with a certificate', MODE, `${MODE}\n        credentialName: ▸outside`, 'SP4002'),
  row('an empty list of names', MODE, `${MODE}\n        ▸subjectAltNames: []`, 'SP4002'),
  row('a pin that is no hash', MODE, `${MODE}\n        verifyCertificateSpki: [▸abc]`, 'SP4000'),
  row('a pin that is no hash of a certificate', MODE, `${MODE}\n        verifyCertificateHash: [▸zz]`, 'SP4000'),
  row(
    'versions in the wrong order',
    MODE,
    `${MODE}\n        minProtocolVersion: ▸TLSV1_3\n        maxProtocolVersion: TLSV1_2`,
    'SP4000',
  ),
  row('a revocation list', MODE, `${MODE}\n        caCrl: ▸/etc/crl.pem`, 'SP1034'),
  row(
    'tls without a value',
    `- port:\n        number: 80\n        name: http\n        protocol: HTTPS\n      tls:\n        ${MODE}`,
    '- ▹port:\n        number: 80\n        name: http\n        protocol: HTTPS\n      ▸tls:',
    'SP1032',
  ),
  row('a map indented too little', '      tls:\n', '    ▸tls:\n', 'SP1010'),
  row(
    'tls in port',
    '        protocol: HTTPS\n      tls:\n        mode: ISTIO_MUTUAL',
    '        protocol: HTTP\n        ▸tls: { mode: ISTIO_MUTUAL }',
    'SP1030',
  ),
  row('no hosts', "      hosts:\n        - '*'", '      ▸hosts: []', 'SP1000'),
  row('a host with a star in the middle', "- '*'", '- ▸www.*.com', 'SP4004'),
  row('a host with a scheme', "- '*'", '- ▸https://www.aliyun.com', 'SP4004'),
  row('a selector without a value', '  selector:\n    istio: egressgateway', '  ▸selector:', 'SP1032'),
  row('a selector of numbers', 'istio: egressgateway', 'istio: ▸1', 'SP1000'),
  row('an address to bind to', '    - port:', '    - bind: ▸10.0.0.1\n      port:', 'SP4012'),
  row(
    'no servers',
    "  servers:\n    - port:\n        number: 80\n        name: http\n        protocol: HTTPS\n      tls:\n        mode: ISTIO_MUTUAL\n      hosts:\n        - '*'\n",
    '  ▸servers: []\n',
    'SP1000',
  ),
  row('an unknown field of a server', '      hosts:', "      ▸host: '*'\n      hosts:", 'SP1030', 'warning'),
  row('httpsRedirect on HTTPS', MODE, `${MODE}\n        httpsRedirect: ▸true`, 'SP4011', 'warning'),
  row('a cipher that Istio does not know', MODE, `${MODE}\n        cipherSuites: [▸RC4-MD5]`, 'SP4011', 'warning'),
  row(
    'two servers with one port name',
    "      hosts:\n        - '*'",
    "      hosts: ['*']\n    - port: { number: 443, name: ▸http, protocol: HTTPS }\n      tls: { mode: ISTIO_MUTUAL }\n      hosts: [a.com]",
    'SP4000',
  ),
  row(
    'the same host twice on a port',
    "      hosts:\n        - '*'",
    "      hosts: ['*']\n    - ▸port: { number: 80, name: other, protocol: HTTPS }\n      tls: { mode: ISTIO_MUTUAL }\n      hosts: ['*']",
    'SP4005',
    'warning',
  ),
  row(
    'plain text and TLS on one port',
    "      hosts:\n        - '*'",
    "      hosts: ['*']\n    - ▸port: { number: 80, name: other, protocol: HTTP }\n      hosts: ['*']",
    'SP4006',
    'warning',
  ),
  row('a name with a dot', '  name: istio-egressgateway', '  name: ▸istio.egressgateway', 'SP4000'),
  row('a targetPort', '        number: 80', '        number: 80\n        targetPort: ▸8080', 'SP4000'),
  row(
    'an old version of TLS without its ciphers',
    MODE,
    `${MODE}\n        minProtocolVersion: ▸TLSV1_1`,
    'SP4011',
    'warning',
  ),
  row('a cipher twice', MODE, `${MODE}\n        cipherSuites: [AES128-SHA, ▸AES128-SHA]`, 'SP4011', 'warning'),
  own('a relative path of a certificate', 'privateKey: /etc/certs/key.pem', 'privateKey: ▸certs/key.pem', 'SP4002'),
  own(
    'a certificate without its key',
    'mode: MUTUAL\n        serverCertificate: /etc/certs/cert-chain.pem\n        privateKey: /etc/certs/key.pem',
    'mode: ▸MUTUAL\n        serverCertificate: /etc/certs/cert-chain.pem',
    'SP4002',
  ),
  own('files and a secret', 'mode: MUTUAL', 'mode: ▸MUTUAL\n        credentialName: cnn', 'SP4002'),
  own(
    'a secret without a name',
    '        serverCertificate: /etc/certs/cert-chain.pem\n        privateKey: /etc/certs/key.pem',
    '        credentialName: ▸""',
    'SP1000',
  ),
]
