/** A mounted Kubernetes secret as a directory below `secretsDirectory`: which of its files holds what. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { CertificateFiles } from '../model/listener.ts'

/** TABLE of keys, those of a `kubernetes.io/tls` secret first, then Istio's generic ones (pilot/pkg/credentials/kube). */
const KEYS = {
  certificateChain: ['tls.crt', 'cert'],
  privateKey: ['tls.key', 'key'],
  ca: ['ca.crt', 'cacert'],
  crl: ['ca.crl', 'crl'],
} as const satisfies Record<string, readonly string[]>

export type SecretFiles = {
  readonly pair: CertificateFiles
  readonly ca: string
  /** null: there is none. */
  readonly crl: string | null
}

/**
 * Paths of the secret NAME. What exists is chosen; where nothing does, the path that the error should name. As in Istio
 * the CA of a secret NAME-cacert goes before that of NAME.
 */
export function secretFiles(secretsDirectory: string, name: string): SecretFiles {
  const own = join(secretsDirectory, name)
  const apart = `${own}-cacert`
  const caDirectory = existing(apart, KEYS.ca) === null ? own : apart
  return {
    pair: {
      certificateChain: existing(own, KEYS.certificateChain) ?? join(own, KEYS.certificateChain[0]),
      privateKey: existing(own, KEYS.privateKey) ?? join(own, KEYS.privateKey[0]),
    },
    ca: existing(caDirectory, KEYS.ca) ?? join(caDirectory, KEYS.ca[0]),
    // A list that lies in the other of the two is meant all the same; one of another CA refuses, and that is seen.
    crl: existing(caDirectory, KEYS.crl) ?? existing(own, KEYS.crl),
  }
}

function existing(directory: string, names: readonly string[]): string | null {
  return names.map((name) => join(directory, name)).find((path) => existsSync(path)) ?? null
}
