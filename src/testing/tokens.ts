/** Issuers of tokens, made with Node's own cryptography and not with the library under test; and servers of keys that can go wrong. */
import { generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

export type Claims = Readonly<Record<string, unknown>>

export type TokenKey = {
  readonly kid: string
  readonly alg: 'RS256' | 'PS256' | 'ES256' | 'EdDSA'
  readonly privateKey: KeyObject
  /** As it stands in a key set. */
  readonly jwk: JsonWebKey & { readonly kid: string; readonly alg: string; readonly use: string }
}

export function tokenKey(kid: string, alg: TokenKey['alg'] = 'RS256', bits = 2048): TokenKey {
  const { privateKey, publicKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : alg === 'EdDSA'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: bits })
  return { kid, alg, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } }
}

/** A key set as JSON. */
export function jwksOf(...keys: readonly TokenKey[]): string {
  return JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })
}

/** Seconds since the epoch, `after` seconds from now. */
export function inSeconds(after: number): number {
  return Math.floor(Date.now() / 1000) + after
}

/** A token for an hour, unless the claims say otherwise. `header` replaces or adds; undefined takes away. */
export function tokenBy(key: TokenKey, claims: Claims, header: Claims = {}): string {
  const payload = JSON.stringify({ iat: inSeconds(0), exp: inSeconds(3600), ...claims })
  return signedBy(key, JSON.stringify({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header }), payload)
}

/** Of texts as they are, also such as no honest issuer would sign. */
export function signedBy(key: TokenKey, header: string, payload: string): string {
  const text = `${base64url(header)}.${base64url(payload)}`
  return `${text}.${signature(key, text).toString('base64url')}`
}

export function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function signature({ alg, privateKey }: TokenKey, text: string): Buffer {
  const data = Buffer.from(text)
  if (alg === 'EdDSA') return sign(null, data, privateKey)
  if (alg === 'ES256') return sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  // RSA_PKCS1_PSS_PADDING, with a salt as long as the digest (RFC 7518 §3.5).
  return sign('sha256', data, alg === 'PS256' ? { key: privateKey, padding: 6, saltLength: 32 } : privateKey)
}

export type KeyServer = {
  readonly port: number
  /** `scheme://127.0.0.1:port/jwks.json`. */
  readonly uri: string
  /** Paths asked for, in order. */
  readonly asked: readonly string[]
  /** What is answered from now on: a body with status 200, or anything else. */
  answer: string | ((request: IncomingMessage, response: ServerResponse) => void)
  close(): Promise<void>
}

export async function startKeyServer(
  answer: KeyServer['answer'],
  tls: { readonly cert: string; readonly key: string } | null = null,
): Promise<KeyServer> {
  const asked: string[] = []
  const listener: RequestListener = (request, response) => {
    asked.push(request.url ?? '')
    if (typeof keyServer.answer === 'function') return keyServer.answer(request, response)
    response.setHeader('content-type', 'application/json').end(keyServer.answer)
  }
  const server = tls === null ? createServer(listener) : createTlsServer(tls, listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const keyServer: KeyServer = {
    port,
    uri: `${tls === null ? 'http' : 'https'}://127.0.0.1:${port}/jwks.json`,
    asked,
    answer,
    close: async () => {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
  return keyServer
}
