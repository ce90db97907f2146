/**
 * The least that a Node program can hold per mTLS connection: a TLS socket and a constant answer. W5's measure.
 * `bare-tls-server.ts CERT KEY CA`: paths of PEM files. Says its port on standard error.
 */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import { BODY } from './load/body.ts'

const [cert, key, ca] = process.argv.slice(2, 5).map((file) => readFileSync(file))
if (cert === undefined || key === undefined || ca === undefined) throw new Error('usage: CERT KEY CA')

const ANSWER = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`)
const options = { cert, key, ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' } as const

const server = tls.createServer({ ...options, ALPNProtocols: ['http/1.1'] }, (socket) => {
  socket.on('error', () => socket.destroy())
  // Requests of this benchmark fit into one piece.
  socket.on('data', () => socket.write(ANSWER))
})
server.listen(0, '127.0.0.1', () => process.stderr.write(`port ${(server.address() as AddressInfo).port}\n`))
