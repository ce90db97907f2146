/** Schema of VirtualService (networking.istio.io): every field Istio has, implemented or not. */
import { z } from 'zod'
import { bool, duration, enumeration, float, int, nonEmpty, port, stringMap, stringMatch, text } from '../schema.ts'

const MAX_INT = 2_147_483_647

/** Stands before a `uri` of a redirect that takes the place of the matched prefix alone. */
export const PREFIX = '%PREFIX()%'

/** A header or query parameter; `{}` and null (protobuf's empty message) mean presence. */
const namedMatches = z.record(z.string(), stringMatch.nullable())

const matchRequest = z.object({
  name: text.optional(),
  uri: stringMatch.optional(),
  scheme: stringMatch.optional(),
  method: stringMatch.optional(),
  authority: stringMatch.optional(),
  headers: namedMatches.optional(),
  withoutHeaders: namedMatches.optional(),
  queryParams: namedMatches.optional(),
  port: int(0, 65535).optional(),
  sourceLabels: stringMap.optional(),
  sourceNamespace: text.optional(),
  gateways: z.array(nonEmpty).optional(),
  ignoreUriCase: bool.optional(),
  statPrefix: text.optional(),
})

const headerOperations = z.object({
  set: stringMap.optional(),
  add: stringMap.optional(),
  remove: z.array(text).optional(),
})
const headers = z.object({ request: headerOperations.optional(), response: headerOperations.optional() })

const destination = z.object({
  host: nonEmpty,
  subset: text.optional(),
  port: z.object({ number: port.optional() }).optional(),
})

const routeDestination = z.object({
  destination,
  weight: int(0, MAX_INT).optional(),
  headers: headers.optional(),
})

const percent = z.object({ value: float(0, 100).optional() })

const httpRoute = z.object({
  name: text.optional(),
  match: z.array(matchRequest).optional(),
  route: z.array(routeDestination).optional(),
  redirect: z
    .object({
      uri: text.optional(),
      authority: text.optional(),
      scheme: text.optional(),
      port: int(0, 65535).optional(),
      derivePort: enumeration(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']).optional(),
      redirectCode: int(0, 999).optional(),
    })
    .optional(),
  directResponse: z
    .object({
      status: int(200, 599),
      body: z.object({ string: text.optional(), bytes: text.optional() }).optional(),
    })
    .optional(),
  delegate: z.object({ name: text.optional(), namespace: text.optional() }).optional(),
  rewrite: z
    .object({
      uri: text.optional(),
      authority: text.optional(),
      uriRegexRewrite: z.object({ match: text.optional(), rewrite: text.optional() }).optional(),
    })
    .optional(),
  timeout: duration.optional(),
  headers: headers.optional(),
  retries: z
    .object({
      attempts: int(0, MAX_INT).optional(),
      perTryTimeout: duration.optional(),
      retryOn: text.optional(),
      retryRemoteLocalities: bool.optional(),
      retryIgnorePreviousHosts: bool.optional(),
      backoff: duration.optional(),
    })
    .optional(),
  fault: z
    .object({
      delay: z
        .object({
          fixedDelay: duration.optional(),
          exponentialDelay: duration.optional(),
          percent: int(0, 100).optional(),
          percentage: percent.optional(),
        })
        .optional(),
      abort: z
        .object({
          httpStatus: int(200, 599).optional(),
          grpcStatus: text.optional(),
          http2Error: text.optional(),
          percentage: percent.optional(),
        })
        .optional(),
    })
    .optional(),
  mirror: destination.optional(),
  mirrorPercent: int(0, 100).optional(),
  mirrorPercentage: percent.optional(),
  mirrors: z.array(z.object({ destination, percentage: percent.optional() })).optional(),
  corsPolicy: z
    .object({
      allowOrigin: z.array(text).optional(),
      allowOrigins: z.array(stringMatch).optional(),
      allowMethods: z.array(text).optional(),
      allowHeaders: z.array(text).optional(),
      exposeHeaders: z.array(text).optional(),
      maxAge: duration.optional(),
      allowCredentials: bool.optional(),
      unmatchedPreflights: enumeration(['UNSPECIFIED', 'FORWARD', 'IGNORE']).optional(),
    })
    .optional(),
})

const l4Match = z.object({
  destinationSubnets: z.array(text).optional(),
  port: int(0, 65535).optional(),
  sourceSubnet: text.optional(),
  sourceLabels: stringMap.optional(),
  sourceNamespace: text.optional(),
  gateways: z.array(nonEmpty).optional(),
})
const l4Route = z.object({ destination, weight: int(0, MAX_INT).optional() })
const l4Routes = z.array(l4Route).optional()

export const virtualServiceSchema = z.object({
  hosts: z.array(nonEmpty).optional(),
  gateways: z.array(nonEmpty).optional(),
  exportTo: z.array(nonEmpty).optional(),
  http: z.array(httpRoute).optional(),
  tls: z
    .array(z.object({ match: z.array(l4Match.extend({ sniHosts: z.array(nonEmpty).min(1) })), route: l4Routes }))
    .optional(),
  tcp: z.array(z.object({ match: z.array(l4Match).optional(), route: l4Routes })).optional(),
})

/** The fields that `tls` and `tcp` matches share. */
export type L4Match = z.infer<typeof l4Match>
export type L4Route = z.infer<typeof l4Route>
export type VirtualServiceSpec = z.infer<typeof virtualServiceSchema>
export type HttpRule = NonNullable<VirtualServiceSpec['http']>[number]
export type HttpMatch = NonNullable<HttpRule['match']>[number]
export type RouteDestination = z.infer<typeof destination>
export type HeadersSpec = NonNullable<HttpRule['headers']>
export type HeaderOperations = NonNullable<HeadersSpec['request']>
export type StringMatchSpec = z.infer<typeof stringMatch>
