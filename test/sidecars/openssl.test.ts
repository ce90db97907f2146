/**
 * `openssl s_client` as the sidecar: its standard input and output are the application's connection, as ssh uses such a
 * program for a ProxyCommand. Where the walk-through has TLS without mTLS, that TLS is openssl's own.
 */
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { converse } from '../scenarios/application.ts'
import { outboundSni } from '../scenarios/application-tls.ts'
import { type Caller, contentOf, inMtls, type Row } from '../scenarios/row.ts'
import { missing, scratch, startClient, type WorkloadFiles, workloadFilesIn } from './program.ts'
import { runWalkThroughs } from './run.ts'
import { UNSPOKEN } from './unspoken.ts'

const OPENSSL: Caller = {
  name: 'openssl s_client',
  protocol: 'HTTP/1.1',
  sni: outboundSni,
  unspoken: UNSPOKEN['openssl s_client']['HTTP/1.1'],
  start: async ({ t, harness, siteCa }) => {
    const files = scratch(t)
    const svid = workloadFilesIn(files, harness)
    const [meshCa, ca] = [files.write('mesh-ca.pem', harness.pki.root), files.write('site-ca.pem', siteCa)]
    return async (row) => {
      const certificate = inMtls(row.hop) && row.from !== null ? await svid(row.from) : null
      const args = inMtls(row.hop) ? mutualTls(row, certificate, meshCa) : ownTls(row, ca)
      const address = `127.0.0.1:${harness.gateway.port(row.port)}`
      // Nothing but the application's bytes: no report, no commands in the input, and its end is the end.
      const child = startClient('openssl', [
        's_client',
        '-quiet',
        '-no_ign_eof',
        '-nocommands',
        '-connect',
        address,
        ...args,
      ])
      const said = collect(child)
      const ended = once(child, 'close')
      // Its own TLS is between the application and the site: what it carries is a plain request.
      const carried: Row = row.hop === 'tls' ? { ...row, hop: 'http' } : row
      const seen = await converse(async () => new Pipes(child), carried, siteCa)
      await ended
      return seen.kind === 'cut' && /verify error|certificate verify failed/.test(said())
        ? { kind: 'another certificate' }
        : seen
    }
  },
}

/** Like a socket: the program's end is its end. Its own end the program passes on, as it cannot when it is killed. */
class Pipes extends Duplex {
  readonly #child: ChildProcessWithoutNullStreams

  constructor(child: ChildProcessWithoutNullStreams) {
    super()
    this.#child = child
    child.stdin.on('error', () => {})
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause()
    })
    child.stdout.once('end', () => this.push(null))
  }

  override _read(): void {
    this.#child.stdout.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#child.stdin.write(chunk, () => done())
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.stdout.resume()
    this.#child.stdin.end()
    done(error)
  }
}

function collect(child: ChildProcessWithoutNullStreams): () => string {
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => (text += part))
  return () => text
}

/** It verifies the chain; the name it only verifies when told to, and the SPIFFE ID it cannot. */
function mutualTls({ hop, port, sni }: Row, svid: WorkloadFiles | null, ca: string): readonly string[] {
  const alpn = contentOf(hop) === 'http' ? 'istio-http/1.1,istio,http/1.1' : 'istio-peer-exchange,istio'
  return [
    ...['-servername', sni ?? outboundSni(port), '-alpn', alpn, '-CAfile', ca, '-verify_return_error'],
    ...(svid === null ? [] : ['-cert', svid.cert, '-key', svid.key]),
  ]
}

function ownTls({ host }: Row, ca: string): readonly string[] {
  const name = host === '' ? ['-noservername'] : ['-servername', host, '-verify_hostname', host]
  return [...name, '-CAfile', ca, '-verify_return_error']
}

runWalkThroughs([{ caller: OPENSSL, skip: missing('openssl', ['version']) }])
