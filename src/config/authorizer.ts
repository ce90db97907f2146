/**
 * Whom the CUSTOM policies of this gateway ask: the one extension provider that they name. As in Istio a workload has one
 * external authorizer; where it is not known who that is nothing is let through.
 */
import type { AuthorizerModel, ExtAuthzProvider, ExtensionProvider } from '../model/extension-providers.ts'
import type { ListenerModel } from '../model/listener.ts'
import type { PolicyModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'
import { canReach, carriesTunnels } from './policy-listener-advice.ts'
import type { Report } from './resource.ts'
import type { Services } from './services.ts'

/** null: no CUSTOM policy applies here. Reports several providers as an error, an unknown one and unguarded tunnels as warnings. */
export function lowerAuthorizer(
  { mesh }: Settings,
  policies: readonly PolicyModel[],
  listeners: readonly ListenerModel[],
  services: Services,
  report: Report,
): AuthorizerModel | null {
  const custom = policies.filter(({ action, dryRun }) => action === 'CUSTOM' && !dryRun)
  const [first] = custom
  if (first === undefined) return null
  const name = first.provider ?? ''
  const other = custom.find(({ provider }) => provider !== name)
  if (other !== undefined) {
    const both = `${first.namespace}/${first.name} asks ${name}, ${other.namespace}/${other.name} asks ${other.provider}`
    report('SP8303', other.source, `two authorizers for one gateway: ${both}`, {
      fix: 'let all CUSTOM policies of a gateway name the same provider',
    })
  }
  const found = mesh.extensionProviders.find((provider) => provider.name === name)
  if (found === undefined || !isAuthorizer(found)) {
    const known = mesh.extensionProviders.filter(isAuthorizer).map((provider) => provider.name)
    const what = found === undefined ? 'is none of meshConfig.extensionProviders' : 'is no external authorizer'
    report('SP8302', first.source, `provider ${name} ${what}: this gateway refuses every request and tunnel`, {
      fix: known.length === 0 ? `add it to the bootstrap file` : `name one of ${known.join(', ')}, or add it`,
    })
    return { name, provider: null, cluster: '' }
  }
  const cluster = services.ownClusterFor(found.service, found.type === 'envoyExtAuthzGrpc', found.source)
  if (found.type === 'envoyExtAuthzHttp') adviseOnTunnels(custom, listeners, name, report)
  return { name, provider: found, cluster }
}

function isAuthorizer(provider: ExtensionProvider): provider is ExtAuthzProvider {
  return provider.type === 'envoyExtAuthzHttp' || provider.type === 'envoyExtAuthzGrpc'
}

/** Istio leaves tunnels alone where the authorizer speaks HTTP only; here what cannot be asked is refused. */
function adviseOnTunnels(
  custom: readonly PolicyModel[],
  listeners: readonly ListenerModel[],
  provider: string,
  report: Report,
): void {
  const tunnels = listeners.filter(carriesTunnels)
  for (const rule of custom.flatMap(({ rules }) => rules)) {
    const reached = tunnels.filter(({ bindPort }) => canReach(rule, bindPort))
    if (reached.length === 0) continue
    const ports = reached.map(({ gatewayPort }) => String(gatewayPort)).join(', ')
    const message = `${provider} speaks HTTP and cannot be asked about tunnels (port ${ports}): those that this rule covers are refused`
    report('SP8305', rule.source, message, {
      fix: 'use an envoyExtAuthzGrpc provider, or add `ports` with the bound HTTP ports to the rule',
    })
  }
}
