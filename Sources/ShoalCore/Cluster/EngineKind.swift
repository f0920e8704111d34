/// What computes an instance. Raw values are part of the API and of `--engine`.
package enum EngineKind: String, Sendable, Codable, Hashable, CaseIterable {
    /// Shoal's own engine: each node holds a stage and reads its own file.
    case stages
    /// Stock llama.cpp: `llama-server` on the head, `ggml-rpc-server` on the workers.
    case rpc
}

/// One device of the rpc engine as its worker and the tunnel to it see it. What `shoal ps --json` shows per worker.
package struct RPCWorkerReport: Hashable, Sendable, Codable {
    /// Memory of one device behind a worker, as the worker reports it.
    package struct Device: Hashable, Sendable, Codable {
        package var free: ByteCount
        package var total: ByteCount

        package init(free: ByteCount, total: ByteCount) {
            self.free = free
            self.total = total
        }
    }

    /// Where the worker's node is reached from outside, or where the foreign worker listens.
    package var address: String
    /// Whether the worker's program was started by somebody else, and the leg to it is plain TCP.
    package var isForeign: Bool
    /// When it had started and answered by protocol, for the present launch: seconds since the instance was created.
    /// Nil while it is awaited.
    package var preparedSeconds: Double?
    /// "7.0.0", from its HELLO.
    package var protocolVersion: String?
    package var devices: [Device] = []
    /// What llama-server says that it put there, from its log.
    package var modelBufferBytes: ByteCount?
    package var kvBufferBytes: ByteCount?
    package var computeBufferBytes: ByteCount?
    /// Through the tunnel, both ways, since the instance was created.
    package var bytesToWorker: ByteCount = .zero
    package var bytesFromWorker: ByteCount = .zero
    /// Weights that went by reference and by value; nil while the tunnel does not tell them apart.
    package var weightBytesReferenced: ByteCount?
    package var weightBytesSent: ByteCount?
    /// Graphs that the worker was told to compute; nil while the tunnel does not count them.
    package var graphCount: Int?

    package init(address: String, isForeign: Bool) {
        self.address = address
        self.isForeign = isForeign
    }
}

/// A stock worker that one node carries traffic for, as it was last seen.
package struct ForeignWorkerReport: Hashable, Sendable, Codable {
    /// HOST:PORT.
    package var address: String
    package var protocolVersion: String?
    package var devices: [RPCWorkerReport.Device] = []
    /// Why it cannot be used, in one sentence.
    package var problem: String?

    package init(address: String) { self.address = address }

    /// Of all its devices.
    package var free: ByteCount { devices.reduce(.zero) { $0 + $1.free } }
}

/// Where the HTTP server of an instance of the rpc engine is reached from this process.
package struct ServerAddress: Hashable, Sendable, Codable {
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}
