import { test } from 'node:test'
import { once } from 'node:events'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Stream } from '../../src/testing/h2-client.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
for (const secure of [true])
for (const wait of [0, 50, 300])
test('download ' + secure + wait, async () => {
  const origin = await startEchoOrigin({})
  const harness = await startHarness({ resources: { 'all.yaml': `${gatewayYaml([{ port: 80, name: 'm', protocol: 'HTTPS', tls: { mode: 'ISTIO_MUTUAL' } }, { port: 443, name: 'p', protocol: 'HTTP2' }])}---\n${siteYaml('site.example', origin.port)}` } })
  const mesh = { port: harness.gateway.port(80), svid: await harness.pki.svid('apps/sleep'), ca: harness.pki.root, alpn: ['h2'] }
  const socket = secure ? await meshConnect(mesh) : await plainConnect(harness.gateway.port(443))
  const session = h2Over(socket)
  session.setLocalWindowSize(1 << 26)
  const streams = Array.from({length: 20}, () => { const s = h2Stream(session, 'site.example', { path: '/bytes/100000000' }); s.end(); return s })
  for (const s of streams) { s.on('error', () => {}); s.once('data', () => {}); }
  await once(streams[0]!, 'data')
  await new Promise((r) => setTimeout(r, wait))
  socket.pause(); (socket as any)._handle?.readStop?.()
  await new Promise((r) => setTimeout(r, 100))
  const raw = (socket as any)._parent ?? socket
  socket.destroy()
  const states = []
  for (let i = 0; i < 3; i++) { await new Promise((r) => setTimeout(r, 300)); states.push(harness.gateway.boundPorts.map(({ stats }) => [stats.downstream_rq_active, stats.downstream_cx_active]).join(' ')) }
  console.log(secure, wait, states, origin.open())
  await harness.gateway.destroy()
  await origin.close()
})
