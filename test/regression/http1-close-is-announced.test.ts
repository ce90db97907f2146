/**
 * A caller that sends `connection: close` gets it back and the connection ends (RFC 9112, 9.6); one that does not, keeps
 * its connection, and the answer carries no connection header of Node's (`keep-alive`, with the time it would wait).
 */
import assert from 'node:assert/strict'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import { documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const HOST = 'site.example'

test('connection: close is honoured and announced, for answers from outside and our own', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const harness = await started(t, {
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, origin.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
      ),
    },
  })
  const ask = (host: string, more = '') => `GET /status/200 HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`
  for (const [host, status] of [
    [HOST, 200],
    ['other.example', 502],
  ] as const) {
    const socket = await plainConnect(harness.gateway.port(80))
    // Read to the end of the connection: it must come from the gateway.
    const answer = await rawExchange(socket, ask(host, 'Connection: close\r\n'), () => false)
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [^]*\r\nconnection: close\r\n`, 'i'))
    socket.destroy()
  }
  const socket = await plainConnect(harness.gateway.port(80))
  const twice = await rawExchange(
    socket,
    ask(HOST) + ask('other.example'),
    (text) => (text.match(/^HTTP\/1\.1 /gm) ?? []).length === 2,
  )
  assert.match(twice, /^HTTP\/1\.1 200 [^]*^HTTP\/1\.1 502 /m)
  assert.doesNotMatch(twice, /^(?:connection|keep-alive):/im)
  socket.destroy()
  await harness.stop(4)
})
