import { startRawOrigin } from '../../src/testing/origin.ts'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startSite, HOST } from './site.ts'
import { setTimeout as delay } from 'node:timers/promises'
const origin = await startRawOrigin({ onRequest: (c) => c.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok') })
const site = await startSite(origin.port)
const H = `Host: ${HOST}\r\n`
const rows: Record<string,string> = {
  clte: `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  tecl: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
  xchunked: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  identity2: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
  gzipchunked: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  twoTE: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  teId: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: identity\r\n\r\n`,
  teChunkedChunked: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
  teSpace: `POST / HTTP/1.1\r\n${H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
  teVT: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
  teTab: `POST / HTTP/1.1\r\n${H}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n`,
  teTrail: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n`,
  teEmpty: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: \r\n\r\n0\r\n\r\n`,
  teObs: `POST / HTTP/1.1\r\n${H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`,
  obs: `GET / HTTP/1.1\r\n${H}X-A: a\r\n b\r\n\r\n`,
  obsFirst: `GET / HTTP/1.1\r\n X: y\r\n${H}\r\n`,
  cl2: `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
  cl56: `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
  clplus: `POST / HTTP/1.1\r\n${H}Content-Length: +5\r\n\r\nhello`,
  clminus: `POST / HTTP/1.1\r\n${H}Content-Length: -5\r\n\r\nhello`,
  cl55: `POST / HTTP/1.1\r\n${H}Content-Length: 5, 5\r\n\r\nhello`,
  cl0x: `POST / HTTP/1.1\r\n${H}Content-Length: 0x5\r\n\r\nhello`,
  clsp: `POST / HTTP/1.1\r\n${H}Content-Length: 5 5\r\n\r\nhello`,
  clempty: `POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\nhello`,
  clbig: `POST / HTTP/1.1\r\n${H}Content-Length: 18446744073709551621\r\n\r\nhello`,
  cl00: `POST / HTTP/1.1\r\n${H}Content-Length: 005\r\n\r\nhello`,
  lf: `GET / HTTP/1.1\nHost: ${HOST}\n\n`,
  lfone: `GET / HTTP/1.1\r\nHost: ${HOST}\nX-A: b\r\n\r\n`,
  lfline: `GET / HTTP/1.1\nHost: ${HOST}\r\n\r\n`,
  lfend: `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\n`,
  crcr: `GET / HTTP/1.1\r\nHost: ${HOST}\rX-A: b\r\n\r\n`,
  nul: `GET / HTTP/1.1\r\n${H}X-A: a\0b\r\n\r\n`,
  ctl: `GET / HTTP/1.1\r\n${H}X-A: a\x01b\r\n\r\n`,
  del: `GET / HTTP/1.1\r\n${H}X-A: a\x7fb\r\n\r\n`,
  crval: `GET / HTTP/1.1\r\n${H}X-A: a\rb\r\n\r\n`,
  nulname: `GET / HTTP/1.1\r\n${H}X\0A: b\r\n\r\n`,
  namesp: `GET / HTTP/1.1\r\n${H}X A: b\r\n\r\n`,
  nocolon: `GET / HTTP/1.1\r\n${H}XA\r\n\r\n`,
  emptyname: `GET / HTTP/1.1\r\n${H}: b\r\n\r\n`,
  paren: `GET / HTTP/1.1\r\n${H}X(A): b\r\n\r\n`,
  utf8name: `GET / HTTP/1.1\r\n${H}X\xc3\xa9: b\r\n\r\n`,
  proto: `GET / HTTP/1.1\r\n${H}__proto__: b\r\n\r\n`,
  leadingCrlf: `\r\nGET / HTTP/1.1\r\n${H}\r\n`,
  twospaces: `GET  / HTTP/1.1\r\n${H}\r\n`,
  spaceaftermethod: `GET / x HTTP/1.1\r\n${H}\r\n`,
  tabmethod: `GET\t/ HTTP/1.1\r\n${H}\r\n`,
  trailspace: `GET / HTTP/1.1 \r\n${H}\r\n`,
  h09: `GET /\r\n`,
  h12: `GET / HTTP/1.2\r\n${H}\r\n`,
  h10: `GET / HTTP/1.0\r\n${H}\r\n`,
  h20: `GET / HTTP/2.0\r\n${H}\r\n`,
  hlow: `GET / http/1.1\r\n${H}\r\n`,
  lower: `get / HTTP/1.1\r\n${H}\r\n`,
  foo: `FOO / HTTP/1.1\r\n${H}\r\n`,
  pri: `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`,
  trace: `TRACE / HTTP/1.1\r\n${H}Connection: close\r\n\r\n`,
  connect: `CONNECT ${HOST}:443 HTTP/1.1\r\n${H}\r\n`,
  upg: `GET / HTTP/1.1\r\n${H}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`,
  h2c: `GET / HTTP/1.1\r\n${H}Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`,
  upgbody: `POST / HTTP/1.1\r\n${H}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello`,
  upgnoconn: `GET / HTTP/1.1\r\n${H}Upgrade: websocket\r\n\r\n`,
  expectfoo: `POST / HTTP/1.1\r\n${H}Expect: foo\r\nContent-Length: 5\r\n\r\nhello`,
  expectboth: `POST / HTTP/1.1\r\n${H}Expect: foo, 100-continue\r\nContent-Length: 5\r\n\r\nhello`,
  expecttwice: `POST / HTTP/1.1\r\n${H}Expect: 100-continue\r\nExpect: foo\r\nContent-Length: 5\r\n\r\nhello`,
  expectx: `POST / HTTP/1.1\r\n${H}Expect: 100-continue-x\r\nContent-Length: 5\r\n\r\nhello`,
  chunkoverflow: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nhello\r\n0\r\n\r\n`,
  chunkneg: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n`,
  chunk0x: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`,
  chunklf: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n`,
  chunkext: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5;${'a'.repeat(20000)}\r\nhello\r\n0\r\n\r\n`,
  chunkextok: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n`,
  chunkextlf: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n`,
  chunknocrlf: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n`,
  chunkspace: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n`,
  chunkpluslen: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n`,
  trailers: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n`,
  trailerbad: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX T: 1\r\n\r\n`,
  hostdup: `GET / HTTP/1.1\r\n${H}${H}\r\n`,
  hostnone: `GET / HTTP/1.1\r\n\r\n`,
  absother: `GET http://other/ HTTP/1.1\r\n${H}\r\n`,
  abssame: `GET http://${HOST}/x HTTP/1.1\r\n${H}\r\n`,
  absquery: `GET http://${HOST}?q HTTP/1.1\r\n${H}\r\n`,
  absuser: `GET http://u@${HOST}/x HTTP/1.1\r\n${H}\r\n`,
  ftp: `GET ftp://${HOST}/x HTTP/1.1\r\n${H}\r\n`,
  opt: `OPTIONS * HTTP/1.1\r\n${H}\r\n`,
  getstar: `GET * HTTP/1.1\r\n${H}\r\n`,
  nopath: `GET foo HTTP/1.1\r\n${H}\r\n`,
  nulpath: `GET /a%00 HTTP/1.1\r\n${H}\r\n`,
  highpath: `GET /\xe9 HTTP/1.1\r\n${H}\r\n`,
  frag: `GET /a#b HTTP/1.1\r\n${H}\r\n`,
  missingFinal: `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\n${H}\r\n`,
  headers101: `GET / HTTP/1.1\r\n${H}${'X-A: b\r\n'.repeat(2000)}\r\n`,
  big: `GET / HTTP/1.1\r\n${H}X-A: ${'b'.repeat(1e6)}\r\n\r\n`,
  url64: `GET /${'b'.repeat(65536)} HTTP/1.1\r\n${H}\r\n`,
  connclose10: `GET / HTTP/1.1\r\n${H}Connection: a,b,c,d,e,f,g,h,i,j\r\n\r\n`,
  conncl: `POST / HTTP/1.1\r\n${H}Connection: content-length\r\nContent-Length: 5\r\n\r\nhello`,
}
let n = 0
const only = process.argv.slice(2)
for (const [name, bytes] of Object.entries(rows)) {
  if (only.length > 0 && !only.includes(name)) continue
  const before = origin.connections.length ? origin.connections.map(c => c.text).join('').length : 0
  const socket = await (process.env['PLAIN'] ? site.plain() : site.mesh())
  const follow = bytes.startsWith('FOLLOW') ? '' : `GET /follow HTTP/1.1\r\n${H}\r\n`
  const text = await Promise.race([rawExchange(socket, Buffer.from(bytes + follow, 'latin1'), (t) => t.split('HTTP/1.1 200').length === 3), delay(1500).then(() => 'TIMEOUT')])
  socket.destroy()
  const got = origin.connections.map(c => c.text).join('').slice(before)
  await delay(30)
  const lines = (await site.harness.lines(0)).slice(n)
  n += lines.length
  console.log(name.padEnd(16), JSON.stringify(text.slice(0, 15)), 'answers', text.split('HTTP/1.1 ').length - 1, /connection: close/i.test(text) ? 'close' : 'KEEP', 'origin', got.length, JSON.stringify(got.slice(0, 60)), '|', lines.map(l => [l['response_code'], l['response_flags'], l['response_code_details'], l['reason']].join(' ')).join(' || '))
}
await site.harness.stop()
await origin.close()
