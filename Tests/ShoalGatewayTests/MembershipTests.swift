import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("Membership over HTTP")
struct MembershipTests {
    private let gateway = GatewayHarness()

    @Test("an invite is made with the lifetime that was asked for, and its code is in the answer")
    func invite() async throws {
        let response = try await gateway.post("/shoal/v1/invites", #"{"lifetimeSeconds": 60}"#)
        #expect(response.status == .created)
        #expect(response.json["code"]?.stringValue == "SHOAL1CODE")
        #expect(response.text.contains("1700000060"))
        #expect(try await gateway.post("/shoal/v1/invites", #"{"lifetimeSeconds": 0}"#).status == .badRequest)
    }

    @Test("members are listed and forgotten, invites revoked, clusters joined")
    func routes() async throws {
        #expect(try await gateway.send(.get, "/shoal/v1/members").json[0]["name"]?.stringValue == "a")
        #expect(try await gateway.send(.delete, "/shoal/v1/members/old%20node").json["name"]?.stringValue == "old node")
        #expect(try await gateway.send(.get, "/shoal/v1/invites").text == "[]")
        #expect(try await gateway.send(.delete, "/shoal/v1/invites/00ff").json["state"]?.stringValue == "revoked")
        #expect(try await gateway.post("/shoal/v1/join", #"{"code": "X"}"#).json["clusterID"]?.stringValue == "X")
        #expect(try await gateway.post("/shoal/v1/join", "{}").status == .badRequest)
    }

    @Test("what the cluster refuses is forbidden, with its sentence")
    func refused() async throws {
        let refusal = ShoalError(.notAMember, "this invite was revoked")
        let gateway = GatewayHarness(cluster: ScriptedCluster(refusal: refusal))
        let response = try await gateway.post("/shoal/v1/join", #"{"code": "X"}"#)
        #expect(response.status == .forbidden)
        #expect(response.error["message"]?.stringValue == "this invite was revoked")
    }

    @Test("a web page can change nothing")
    func webPage() async throws {
        let requests: [(HTTPRequest.Method, String)] = [
            (.post, "/shoal/v1/invites"), (.post, "/shoal/v1/join"), (.delete, "/shoal/v1/members/a"),
            (.delete, "/shoal/v1/invites/1"),
        ]
        try await gateway.makeApplication().test(.router) { client in
            for (method, path) in requests {
                let response = try await client.execute(
                    uri: path, method: method, headers: [.origin: "null"], body: ByteBuffer(string: "{}"))
                #expect(response.status == .forbidden, "\(path)")
            }
        }
    }

    @Test("only this machine's own addresses count as local")
    func local() throws {
        for host in ["127.0.0.1", "127.9.9.9", "::1"] {
            #expect(GatewayRequestContext.isLoopback(try SocketAddress(ipAddress: host, port: 1)), "\(host)")
        }
        for host in ["192.168.1.2", "fe80::1", "128.0.0.1", "10.127.0.1"] {
            #expect(!GatewayRequestContext.isLoopback(try SocketAddress(ipAddress: host, port: 1)), "\(host)")
        }
    }
}
