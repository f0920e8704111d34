package import ShoalCore

/// The first frame of either side on every link: who it is and what the link is for.
package struct LinkHello: Sendable, Codable, Hashable {
    /// What a link carries.
    package enum Purpose: Sendable, Codable, Hashable {
        /// Requests, events and heartbeats between two nodes.
        case control
        /// Micro-batches of one boundary of one instance; `boundary` is the index of the stage they go to, and the
        /// stage count for outputs on their way to the head.
        case data(instance: InstanceID, generation: UInt32, boundary: Int)
        /// The bytes of one connection of a stock program, in place of frames once the hellos are exchanged.
        case tunnel(instance: InstanceID, TunnelTarget)
        /// Whatever the node that made the token waits for: it could not dial by itself.
        case reversed(LinkToken)
        /// One half of a connection between two other nodes; frames end with the hellos, and the bytes that follow are
        /// passed on.
        case relay(LinkToken)
        /// Measurements: `ping` frames with payload and their answers.
        case probe
    }

    /// Where the bytes of a tunnel go on the node that accepts it.
    package enum TunnelTarget: Sendable, Codable, Hashable {
        /// The rpc-server that serves this stage of the instance.
        case worker(stage: Int)
        /// The instance's llama-server.
        case server
    }

    package var protocolNumber: UInt8
    package var nodeID: NodeID
    package var nodeName: String
    package var shoalVersion: String
    /// Of libllama; equal on all nodes of an instance.
    package var llamaBuild: String
    /// Where this node accepts links, as `LinkAddress` reads it.
    package var linkAddress: String
    /// Where this node's HTTP API listens; nil when it has none.
    package var apiAddress: String?
    /// Set by the side that dialled; the answer repeats it.
    package var purpose: Purpose

    package init(
        nodeID: NodeID, nodeName: String, llamaBuild: String, linkAddress: String, apiAddress: String?,
        purpose: Purpose = .control
    ) {
        protocolNumber = ShoalVersion.protocolNumber
        shoalVersion = ShoalVersion.current
        self.nodeID = nodeID
        self.nodeName = nodeName
        self.llamaBuild = llamaBuild
        self.linkAddress = linkAddress
        self.apiAddress = apiAddress
        self.purpose = purpose
    }

    /// The same node's hello for another link.
    package func with(purpose: Purpose) -> LinkHello {
        var hello = self
        hello.purpose = purpose
        return hello
    }

    /// A node that listens on every address cannot say which one others reach; `host`, where its link came from, can.
    package func withLinkHost(insteadOfAny host: String?) -> LinkHello {
        guard let host, let address = try? LinkAddress(parsing: linkAddress), ["0.0.0.0", "::"].contains(address.host),
            let reachable = try? LinkAddress(host: host, port: address.port)
        else { return self }
        var hello = self
        hello.linkAddress = reachable.description
        return hello
    }

    /// Longest name and address of a peer that is believed; they are shown and logged.
    static let textByteCountMax = 256

    /// Throws `protocolViolation` for a peer that this node cannot talk to.
    func validate() throws(ShoalError) {
        guard protocolNumber == ShoalVersion.protocolNumber else {
            throw ShoalError(
                .protocolViolation,
                "node \(nodeName) (Shoal \(shoalVersion)) speaks protocol \(protocolNumber), this node protocol "
                    + "\(ShoalVersion.protocolNumber); install the same Shoal version on both")
        }
        let texts = [nodeName, shoalVersion, llamaBuild, linkAddress, apiAddress ?? ""]
        guard texts.allSatisfy({ $0.utf8.count <= Self.textByteCountMax }) else {
            throw ShoalError(.protocolViolation, "a hello with a text of more than \(Self.textByteCountMax) bytes")
        }
    }
}
