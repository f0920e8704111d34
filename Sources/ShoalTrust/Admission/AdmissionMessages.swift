package import ShoalCore

/// What a node that is not a member says first, and what it is answered. JSON in `admission` frames.
package enum AdmissionMessage: Hashable, Sendable, Codable {
    case request(AdmissionRequest)
    case grant(AdmissionGrant)
}

/// "Let me in": with a proof that only the holder of a secret could make, for this pair of certificates only.
package struct AdmissionRequest: Hashable, Sendable, Codable {
    /// Which secret the proof is made with; the secret itself does not travel.
    package enum Method: Hashable, Sendable, Codable {
        case clusterKey
        case invite(id: String)
    }

    package var method: Method
    package var nodeName: String
    /// 32 random bytes in hexadecimal, so that the answer is for this request.
    package var nonce: String
    package var proof: String
}

/// "You are in": with the issuer's own proof.
package struct AdmissionGrant: Hashable, Sendable, Codable {
    package var nodeName: String
    package var proof: String
    /// For invited nodes, which do not have it yet.
    package var clusterKey: String?
    /// For invited nodes; others hear of the members by gossip.
    package var records: [MemberRecord]
}

/// How a listener takes a request.
package enum AdmissionVerdict: Sendable {
    case grant(AdmissionGrant)
    /// The secret is genuine but does not help any more; its holder may know why.
    case refuse(ShoalError)
    /// A stranger: it gets nothing but a closed connection. The sentence is for our log.
    case ignore(ShoalError)
}
