/** Access logs to compare: the default, one of 25 operators as pipelines have them, Istio's text, none. */

const OPERATORS = [
  '%START_TIME(%s.%3f)%',
  '%REQ(:METHOD)%',
  '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):256%',
  '%PROTOCOL%',
  '%RESPONSE_CODE%',
  '%RESPONSE_FLAGS%',
  '%RESPONSE_CODE_DETAILS%',
  '%BYTES_RECEIVED%',
  '%BYTES_SENT%',
  '%DURATION%',
  '%RESPONSE_DURATION%',
  '%REQUEST_DURATION%',
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  '%RESP(CONTENT-TYPE?SERVER)%',
  '%REQ(USER-AGENT)%',
  '%REQ(X-REQUEST-ID)%',
  '%REQ(:AUTHORITY)%',
  '%UPSTREAM_HOST%',
  '%UPSTREAM_CLUSTER%',
  '%UPSTREAM_LOCAL_ADDRESS%',
  '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%',
  '%DOWNSTREAM_PEER_URI_SAN%',
  '%DOWNSTREAM_TLS_VERSION%',
  '%ROUTE_NAME%',
  '%SALLYPORT_AUTHZ_POLICY%',
] as const

const CUSTOM = JSON.stringify(Object.fromEntries(OPERATORS.map((operator, index) => [`field_${index}`, operator])))

/** Name → fields of `meshConfig`. */
export const LOG_FORMATS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'default JSON': {},
  [`JSON of ${OPERATORS.length} operators`]: { accessLogFormat: CUSTOM },
  TEXT: { accessLogEncoding: 'TEXT' },
  off: { accessLogFile: '' },
}
