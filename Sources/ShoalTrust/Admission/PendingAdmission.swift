package import ShoalCore

/// A request that this node makes, and what its answer must be.
package struct PendingAdmission: Sendable {
    package let request: AdmissionRequest
    private let proof: AdmissionProof
    private let secret: Secret

    private enum Secret: Sendable {
        case clusterKey(ClusterKey)
        case invite(InviteCode)
    }

    /// For nodes that share a cluster key from outside.
    init(clusterKey: ClusterKey, nodeName: String, own: NodeID, peer: NodeID, nonce: String) {
        proof = AdmissionProof(dialler: own, listener: peer, nonce: nonce)
        secret = .clusterKey(clusterKey)
        request = AdmissionRequest(
            method: .clusterKey, nodeName: nodeName, nonce: nonce,
            proof: proof.made(by: .dialling, key: AdmissionProof.key(clusterKey)))
    }

    init(code: InviteCode, nodeName: String, own: NodeID, nonce: String) {
        proof = AdmissionProof(dialler: own, listener: code.issuer, nonce: nonce)
        secret = .invite(code)
        request = AdmissionRequest(
            method: .invite(id: code.secret.inviteID), nodeName: nodeName, nonce: nonce,
            proof: proof.made(by: .dialling, key: AdmissionProof.key(code.secret)))
    }

    /// Throws `notAMember` when the other side does not have the secret itself.
    package func verify(_ grant: AdmissionGrant) throws(ShoalError) {
        let key =
            switch secret {
            case .clusterKey(let key): AdmissionProof.key(key)
            case .invite(let code): AdmissionProof.key(code.secret)
            }
        guard proof.isValid(grant.proof, by: .listening, key: key) else {
            throw ShoalError(.notAMember, "node \(proof.listener) answered the admission without a valid proof")
        }
        guard grant.nodeName.utf8.count <= MemberRecord.nameByteCountMax,
            grant.records.count <= MemberList.recordCountMax
        else {
            throw ShoalError(.protocolViolation, "node \(proof.listener) answered the admission with too much")
        }
        guard case .invite(let code) = secret else { return }
        guard let key = grant.clusterKey.flatMap(ClusterKey.init(hexadecimal:)), key.clusterID == code.clusterID else {
            throw ShoalError(.notAMember, "node \(proof.listener) gave the key of another cluster than the invite's")
        }
    }

    /// What an invite gave: the key, after `verify`. Nil for nodes that have it.
    package func clusterKey(in grant: AdmissionGrant) -> ClusterKey? {
        guard case .invite = secret else { return nil }
        return grant.clusterKey.flatMap(ClusterKey.init(hexadecimal:))
    }
}
