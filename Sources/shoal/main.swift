import Logging
import ShoalCore
struct ServeSettings { var name = "a", dataDirectory = "/tmp/a", apiAddress = "127.0.0.1:7460", linkAddress = "127.0.0.1:7461", peerAddresses: [String] = [], threadCount = 1, memoryLimit: ByteCount? = nil, modelFolders: [String] = [] }
struct HostPort { var host: String; var port: Int; init(parsing t: String, option: String) throws { let p = t.split(separator: ":"); host = String(p[0]); port = Int(p[1])! } }
var s = ServeSettings()
var args = CommandLine.arguments.dropFirst(2)
while let a = args.popFirst() { let v = args.popFirst()!; switch a { case "--name": s.name = v; case "--data": s.dataDirectory = v; case "--api": s.apiAddress = v; case "--link": s.linkAddress = v; case "--peer": s.peerAddresses.append(v); default: break } }
try await runNode(s, logger: Logger(label: "shoal"))
