/** Which programs of other people this machine has, and the preload library that gives wrk and h2load a certificate. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** Program, and how to ask whether it is there. */
const PROGRAMS = {
  nginx: ['-v'],
  haproxy: ['-v'],
  wrk: ['-v'],
  h2load: ['--version'],
  cc: ['--version'],
} as const

export type Program = keyof typeof PROGRAMS

/** Debian's packages of all of them. */
export const INSTALL =
  'apt-get install -y --no-install-recommends nginx-light libnginx-mod-stream haproxy wrk nghttp2-client gcc libc6-dev'

export type Tools = { readonly has: (program: Program) => boolean; readonly versions: readonly string[] }

export function findTools(): Tools {
  const found = new Map<Program, string>()
  for (const [program, args] of Object.entries(PROGRAMS) as [Program, readonly string[]][]) {
    // wrk's way to say its version ends with exit code 1.
    const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    if (error === undefined) found.set(program, `${program} ${/\d+(?:\.\d+)+/.exec(stdout + stderr)?.[0] ?? ''}`)
  }
  return { has: (program) => found.has(program), versions: [...found.values()] }
}

/** Path of the compiled library. @throws when cc refuses it */
export function compileClientCertificate(directory: string): string {
  const library = join(directory, 'clientcert.so')
  if (existsSync(library)) return library
  const source = join(import.meta.dirname, '../clientcert.c')
  const { status, stderr } = spawnSync(
    'cc',
    ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', '-o', library, source, '-ldl'],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`cc: ${stderr}`)
  return library
}
