/**
 * Found by test/fuzz: a request that is answered before its body has come ends its connection, and whatever was sent behind
 * it meanwhile was still judged, carried and logged with an answer that nobody ever got. And one whose body had come with it
 * ended its connection, too, when the parser called back between the body's parts.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { TestContext } from 'node:test'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { HOST, startSite } from '../integration/site.ts'

const BODY = 'abcde'
const refused = `POST /refused HTTP/1.1\r\nHost: other.example\r\nContent-Length: ${BODY.length}\r\n\r\n`
const behind = `GET /status/200 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`

async function siteOf(t: TestContext) {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  return startSite(t, origin.port)
}

const statuses = (text: string) => [...text.matchAll(/^HTTP\/1\.1 (\d+) /gm)].map(([, status]) => status)

const BEHIND = {
  'a request': behind,
  'an upgrade': `GET / HTTP/1.1\r\nHost: ${HOST}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n`,
  'a CONNECT': `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`,
  'no request': 'x y z\r\n\r\n',
}

for (const [what, bytes] of Object.entries(BEHIND))
  test(`what comes behind a request answered early is no request any more: ${what}`, { timeout: 30_000 }, async (t) => {
    const site = await siteOf(t)
    const port = site.harness.gateway.port(80)
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    socket.on('error', () => {})
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
    await once(socket, 'connect')
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write(refused)
    await once(socket, 'end')
    socket.end(`${BODY}${bytes}`)
    await closed
    assert.deepEqual(statuses(text), ['502'])
    await site.quiet()
    const codes = (await site.harness.lines(1)).map((line) => line['response_code'])
    assert.deepEqual(codes, [502])
    await site.harness.stop(1)
  })

test('a refused request whose body came with it leaves the connection open', { timeout: 30_000 }, async (t) => {
  const site = await siteOf(t)
  const socket = await plainConnect(site.harness.gateway.port(80))
  for (let i = 0; i < 5; i += 1) {
    const text = await rawExchange(socket, `${refused}${BODY}${behind}`, (each) => statuses(each).length === 2)
    assert.deepEqual(statuses(text), ['502', '200'])
  }
  socket.destroy()
  await site.harness.stop(10)
})
