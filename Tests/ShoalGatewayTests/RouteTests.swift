import HTTPTypes
import HummingbirdTesting
import NIOCore
import ShoalCore
import Testing

@testable import ShoalGateway

@Suite("Models, health and the cluster's API")
struct RouteTests {
    @Test("the list of models has OpenAI's shape")
    func models() async throws {
        let response = try await GatewayHarness().send(.get, "/v1/models")
        #expect(response.json["object"] == "list")
        #expect(response.json["data"]?[0]["id"] == "models/tiny.gguf")
        #expect(response.json["data"]?[0]["object"] == "model")
        #expect(response.json["data"]?[0]["created"] == .integer(1_700_000_000))
    }

    @Test(
        "a model is found by its name, slashes escaped or not",
        arguments: ["models/tiny.gguf", "models%2Ftiny.gguf", "%74iny"])
    func model(path: String) async throws {
        let response = try await GatewayHarness().send(.get, "/v1/models/\(path)")
        #expect(response.status == .ok)
        #expect(response.json["owned_by"] == "shoal")
    }

    @Test("a model that nobody serves is 404, a broken escape 400")
    func noModel() async throws {
        #expect(try await GatewayHarness().send(.get, "/v1/models/huge").error["code"] == "model_not_found")
        #expect(try await GatewayHarness().send(.get, "/v1/models/%zz").status == .badRequest)
    }

    @Test("health answers at every usual place", arguments: ["/health", "/v1/health", "/healthz", "/readyz", "/livez"])
    func health(path: String) async throws {
        #expect(try await GatewayHarness().send(.get, path).text == #"{"status":"ok"}"#)
        let head = try await GatewayHarness().send(.head, path)
        #expect(head.status == .ok)
        #expect(head.body.readableBytes == 0)
    }

    @Test("health in detail has every node, instance and worker, and is 503 while a wanted model does not answer")
    func healthDetail() async throws {
        let response = try await GatewayHarness().send(.get, "/shoal/v1/health")
        #expect(response.status == .ok)
        #expect(response.json["status"] == "ok")
        #expect(response.json["nodes"]?[0]["name"] == "a")
        #expect(response.json["instances"]?[0]["model"] == "models/tiny.gguf")
        let cluster = ScriptedCluster(phase: .recovering)
        let unwell = try await GatewayHarness(cluster: cluster).send(.get, "/shoal/v1/health")
        #expect(unwell.status == .serviceUnavailable)
        #expect(unwell.json["status"] == "unavailable")
        let worker = unwell.json["instances"]?[0]["workers"]?[0]
        #expect(worker?["node"] == "a")
        #expect(worker?["phase"] == "recovering")
        #expect(worker?["problem"] == "killed")
        #expect(worker?["restartCount"] == .integer(2))
        // This process answers all the same.
        #expect(try await GatewayHarness(cluster: cluster).send(.get, "/health").status == .ok)
        let leaving = ScriptedCluster(phase: .draining, isWanted: false)
        #expect(try await GatewayHarness(cluster: leaving).send(.get, "/shoal/v1/health").status == .ok)
    }

    @Test("the root says what runs here")
    func banner() async throws {
        #expect(try await GatewayHarness().send(.get, "/").text == "Shoal \(ShoalVersion.current) is running\n")
    }

    @Test("traces are asked for by the id of an answer, and nobody's traces are not found")
    func traces() async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.get, "/shoal/v1/traces").json[0]["model"] == "tiny")
        for id in ["chatcmpl-000000000000002a", "000000000000002a"] {
            #expect(try await harness.send(.get, "/shoal/v1/traces/\(id)").json["headName"] == "a")
        }
        #expect(try await harness.send(.get, "/shoal/v1/traces/0000000000000001").error["code"] == "not_found")
        #expect(try await harness.send(.get, "/shoal/v1/traces/cmpl-1").error["code"] == "invalid_request")
    }

    @Test("logs are asked for by node or instance, and nobody's logs are not found")
    func logs() async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.get, "/shoal/v1/logs/a").json[0]["lines"]?[0] == "loaded")
        #expect(try await harness.send(.get, "/shoal/v1/logs/0000000000000abc").json[0]["nodeName"] == "a")
        #expect(try await harness.send(.get, "/shoal/v1/logs/nope").error["code"] == "not_found")
    }

    @Test("nodes, instances and the version are JSON of the reports")
    func reports() async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.get, "/shoal/v1/nodes").json[0]["name"] == "a")
        #expect(try await harness.send(.get, "/shoal/v1/instances").json[0]["id"] == "0000000000000abc")
        #expect(try await harness.send(.get, "/shoal/v1/version").json["version"] == .string(ShoalVersion.current))
    }

    @Test("links and the doctor's checks are JSON of the reports; a node that does not measure says so")
    func links() async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.get, "/shoal/v1/links").json["links"]?[0]["state"] == "timedOut")
        #expect(try await harness.send(.get, "/shoal/v1/doctor").json["checks"]?[0]["outcome"] == "failure")
        let refusing = GatewayHarness(cluster: ScriptedCluster(refusal: ShoalError(.unavailable, "not measured")))
        #expect(try await refusing.send(.get, "/shoal/v1/links").error["message"] == "not measured")
    }

    @Test(
        "an instance is found by id and by model name",
        arguments: ["0000000000000abc", "models/tiny.gguf", "models%2Ftiny.gguf"])
    func instance(name: String) async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.get, "/shoal/v1/instances/\(name)").json["phase"] == "ready")
        #expect(try await harness.send(.delete, "/shoal/v1/instances/\(name)").status == .ok)
        #expect(harness.cluster.stoppedInstances == [ScriptedCluster.instance])
    }

    @Test("an instance that does not exist is 404 and stops nothing")
    func noInstance() async throws {
        let harness = GatewayHarness()
        #expect(try await harness.send(.delete, "/shoal/v1/instances/nope").error["code"] == "not_found")
        #expect(harness.cluster.stoppedInstances.isEmpty)
    }

    @Test(
        "layers may be the text of --layers or a list",
        arguments: [
            #"{"model":"m","layers":"a=0-14,b=15-29","contextTokenCount":512,"sequenceCountMax":2,"wire":"f16"}"#,
            """
            {"model":"m","contextTokenCount":512,"sequenceCountMax":2,"wire":"f16","layers":\
            [{"nodeName":"a","layers":{"first":0,"end":15}},{"nodeName":"b","layers":{"first":15,"end":30}}]}
            """,
        ])
    func load(body: String) async throws {
        let harness = GatewayHarness()
        #expect(try await harness.post("/shoal/v1/instances", body).status == .accepted)
        #expect(try await harness.post("/shoal/v1/plan", body).json["boundaryBytesPerToken"] == .integer(2304))
        for request in harness.cluster.loadRequests {
            #expect(request.model == "m")
            #expect(request.layers.map(\.nodeName) == ["a", "b"])
            #expect(request.layers.map(\.layers.description) == ["0-14", "15-29"])
            #expect(request.contextTokenCount == 512)
            #expect(request.sequenceCountMax == 2)
            #expect(request.wire == .f16)
        }
        #expect(try await harness.post("/shoal/v1/plan", #"{"model":"m","wire":"f8"}"#).error["param"] == "wire")
    }

    @Test("a plan may name an objective, a prompt, and nodes to imagine or to leave out")
    func whatIf() async throws {
        let harness = GatewayHarness()
        let body = """
            {"model":"m","objective":"throughput","promptTokenCount":64,"excludedNodes":["b"],\
            "imaginedNodes":["big=1GiB",{"name":"c","memory":4096}]}
            """
        #expect(try await harness.post("/shoal/v1/plan", body).status == .ok)
        let request = try #require(harness.cluster.loadRequests.first)
        #expect(request.objective == .throughput)
        #expect(request.promptTokenCount == 64)
        #expect(request.excludedNodes == ["b"])
        #expect(request.imaginedNodes?.map(\.memory.rawValue) == [1 << 30, 4096])
    }

    @Test("a load that cannot be is refused with the planner's sentence")
    func refusedLoad() async throws {
        let refusal = ShoalError(.insufficientMemory, "needs 71.0 GiB, has 62.1 GiB")
        let harness = GatewayHarness(cluster: ScriptedCluster(refusal: refusal))
        let response = try await harness.post("/shoal/v1/instances", #"{"model":"m"}"#)
        #expect(response.status == .unprocessableContent)
        #expect(response.error["message"] == "needs 71.0 GiB, has 62.1 GiB")
    }

    @Test(
        "a load request with a wrong field names it",
        arguments: [
            (#"{}"#, "model"), (#"{"model":"m","layers":"a"}"#, "layers"),
            (#"{"model":"m","layers":[{}]}"#, "layers[0].nodeName"),
            (#"{"model":"m","layers":[{"nodeName":"a","layers":{"first":3,"end":3}}]}"#, "layers[0].layers"),
            (#"{"model":"m","contextTokenCount":0}"#, "contextTokenCount"),
            (#"{"model":"m","objective":"speed"}"#, "objective"),
            (#"{"model":"m","excludedNodes":[1]}"#, "excludedNodes"),
            (#"{"model":"m","imaginedNodes":["big"]}"#, "imaginedNodes[0]"),
        ])
    func wrongLoad(body: String, field: String) async throws {
        let response = try await GatewayHarness().post("/shoal/v1/plan", body)
        #expect(response.error["param"] == .string(field))
    }
}
