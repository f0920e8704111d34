import NIOCore
import ShoalCore
import ShoalEngine
import ShoalLinks
import ShoalTesting
import ShoalTrust
import ShoalWire

/// Good inputs, to be spoiled.
enum Samples {
    static func frames() throws -> [[UInt8]] {
        let batch = MicroBatch(
            number: 3, kvOperations: [.keep(SequenceID(rawValue: 1)), .clear],
            entries: [
                BatchEntry(
                    sequence: SequenceID(rawValue: 1), position: 5, token: TokenID(rawValue: 9), wantsOutput: true)
            ])
        let tensor = TensorDescription(elementType: .float32, rowCount: 1, width: 4)
        let token = SampledToken(
            sequence: SequenceID(rawValue: 1), token: TokenID(rawValue: 2), piece: [0xC3], isEndOfGeneration: false)
        let instance = InstanceID(rawValue: 7)
        var frames = [
            try MicroBatchDescription(batch: batch, activations: nil).frame(instance: instance, generation: 1),
            try MicroBatchDescription(batch: batch, activations: tensor)
                .frame(instance: instance, generation: 1, payload: ByteBuffer(repeating: 1, count: 16)),
            try OutputsDescription(tokens: [token], logits: nil).frame(number: 3, instance: instance, generation: 1),
        ]
        for message in try messages() {
            frames.append(Frame(kind: .controlRequest, number: 1, description: ByteBuffer(bytes: message)))
        }
        return try frames.map { Array(try $0.encoded().readableBytesView) }
    }

    static func messages() throws -> [[UInt8]] {
        let member = try ClusterTrust.inMemory(nodeName: "a", clusterKey: .random(), sharesKey: true)
        var hello = LinkHello(
            nodeID: member.nodeID, nodeName: "a", llamaBuild: "b0", linkAddress: "127.0.0.1:1", apiAddress: nil)
        var messages = [try FrameJSON.encode(hello)]
        hello.purpose = .data(instance: InstanceID(rawValue: 1), generation: 2, boundary: 3)
        messages.append(try FrameJSON.encode(hello))
        if let request = member.request(to: .random()) {
            messages.append(try FrameJSON.encode(AdmissionMessage.request(request.request)))
        }
        messages.append(try FrameJSON.encode(member.records))
        messages.append(try FrameJSON.encode(ShoalError(.internal, "x")))
        let layers = LayerRange(first: 0, end: 3)
        if let layers { messages.append(try FrameJSON.encode(EngineRequest.load(.init(path: "/x", layers: layers)))) }
        messages.append(try FrameJSON.encode(EngineReply.tokens([TokenID(rawValue: 1)])))
        messages.append(try FrameJSON.encode(EngineEvent.loadProgress(0.5)))
        return messages.map { Array($0.readableBytesView) }
    }

    /// As everybody who could get this frame would.
    static func decodeAll(_ frame: Frame) {
        _ = try? MicroBatchDescription(decoding: frame)
        _ = try? OutputsDescription(decoding: frame)
        _ = try? FrameJSON.decode(LinkHello.self, from: frame.description)
        _ = try? FrameJSON.decode(AdmissionMessage.self, from: frame.description)
        _ = try? FrameJSON.decode([MemberRecord].self, from: frame.description)
        _ = try? FrameJSON.decode(ShoalError.self, from: frame.description)
        _ = try? FrameJSON.decode(EngineRequest.self, from: frame.description)
        _ = try? FrameJSON.decode(EngineReply.self, from: frame.description)
        _ = try? FrameJSON.decode(EngineEvent.self, from: frame.description)
    }

    static let requestBodies = [
        #"""
        {"model":"m",
        "messages":[{"role":"system","content":"x"},{"role":"user","content":[{"type":"text","text":"Hi"}]}],
        "stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"temperature":0.5,"top_p":0.9,"seed":7,
        "stop":["a","b"],"logit_bias":{"5":-100},
        "response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}}}
        """#,
        #"{"model":"m","prompt":"Once","max_tokens":5,"n":1,"stop":"x","presence_penalty":0.5,"frequency_penalty":-1}"#,
        #"""
        {"model":"/x.gguf","layers":"a=0-14,b=15-29","contextTokenCount":1024,"sequenceCountMax":4,
        "objective":"latency","excludedNodes":["c"]}
        """#,
    ]
}
