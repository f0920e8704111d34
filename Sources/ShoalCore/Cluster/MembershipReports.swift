/// One node that may link with the others. What `shoal forget` lists.
package struct MemberReport: Hashable, Sendable, Codable {
    package var id: NodeID
    package var name: String
    package var addedUnixSeconds: Int
    /// Whether it is the node that reports.
    package var isThis: Bool

    package init(id: NodeID, name: String, addedUnixSeconds: Int, isThis: Bool) {
        self.id = id
        self.name = name
        self.addedUnixSeconds = addedUnixSeconds
        self.isThis = isThis
    }
}

/// A permission for one node to join, as its issuer sees it.
package struct InviteReport: Hashable, Sendable, Codable {
    package enum State: String, Sendable, Codable {
        case open, used, revoked, expired
    }

    /// Not secret.
    package var id: String
    package var state: State
    package var createdUnixSeconds: Int
    package var expiresUnixSeconds: Int
    package var usedBy: NodeID?
    /// For `shoal join`: a secret. Only the answer to the invite's creation has it.
    package var code: String?
    /// What the person who invites should know, in one sentence.
    package var notice: String?

    package init(id: String, state: State, createdUnixSeconds: Int, expiresUnixSeconds: Int) {
        self.id = id
        self.state = state
        self.createdUnixSeconds = createdUnixSeconds
        self.expiresUnixSeconds = expiresUnixSeconds
    }
}

/// What joining a cluster gave.
package struct JoinReport: Hashable, Sendable, Codable {
    package var clusterID: String
    package var members: [MemberReport]

    package init(clusterID: String, members: [MemberReport]) {
        self.clusterID = clusterID
        self.members = members
    }
}
