/** TABLE: what a Gateway may say, and is not or not wholly honoured. */
import type { FieldNote } from '../resource.ts'

export const GATEWAY_NOTES: readonly FieldNote[] = [
  { path: 'spec.servers[].name', is: 'inert', why: 'a name for people; port.name is in the names of route tables' },
  {
    path: 'spec.servers[].bind',
    is: 'refused',
    why: 'unless it is what spec.bindAddress of the bootstrap says: every listener binds to that',
  },
  {
    path: 'spec.servers[].port.targetPort',
    is: 'refused',
    why: 'Istio refuses it too; the port to bind is set in spec.ports of the bootstrap file',
  },
  {
    path: 'spec.servers[].tls.mode',
    is: 'limited',
    why: 'AUTO_PASSTHROUGH is refused: the caller would choose any cluster',
  },
  {
    path: 'spec.servers[].tls.cipherSuites',
    is: 'limited',
    why: 'names that Istio does not know are dropped with a warning, as there',
  },
]
