import ArgumentParser
import ShoalCore

/// `shoal invite`.
struct InviteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Let another machine join this cluster.",
        discussion:
            "Prints a code for `shoal join` on the other machine. It works once, and for an hour unless --hours says "
            + "otherwise. Whoever has it can become a member: treat it like a password.")

    @OptionGroup var client: ClientOptions

    @Option(name: .long, help: "How long the code works, 1 to 720 hours.")
    var hours: Int?

    @Flag(name: .long, help: "List the invites of this node; codes are not shown again.")
    var list = false

    @Option(name: .long, help: "Make the invite with this id useless.")
    var revoke: String?

    @Flag(name: .long, help: "Print the code alone, without QR code and explanation.")
    var quiet = false

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func validate() throws {
        if list, revoke != nil { throw ValidationError("--list and --revoke do different things; give one of them") }
        if let hours, !(1...Limits.inviteLifetimeSecondsMax / 3600).contains(hours) {
            throw ValidationError(
                "--hours must be between 1 and \(Limits.inviteLifetimeSecondsMax / 3600), not \(hours)")
        }
    }

    func run() async throws {
        try await client.withClient { node in
            if list { return try await showAll(node) }
            if let revoke { return try await takeBack(revoke, node) }
            let body = hours.map { ["lifetimeSeconds": $0 * 3600] } ?? [:]
            let invite: InviteReport = try await node.post("/shoal/v1/invites", body)
            if json { return try Terminal.writeJSON(invite) }
            show(invite)
        }
    }

    private func show(_ invite: InviteReport) {
        guard let code = invite.code else { return }
        guard !quiet else { return Terminal.writeLine(code) }
        if let qr = QRCode(code) {
            qr.terminalLines.forEach(Terminal.writeLine)
            Terminal.writeLine("")
        }
        let minutes = (invite.expiresUnixSeconds - invite.createdUnixSeconds) / 60
        Terminal.writeLine("On the other machine, within \(minutes) minutes:")
        Terminal.writeLine("")
        Terminal.writeLine("shoal join \(code)")
        Terminal.writeLine("")
        Terminal.writeLine("It works once. To take it back: shoal invite --revoke \(invite.id)")
        if let notice = invite.notice { Terminal.note("note: \(notice)") }
    }

    private func showAll(_ node: NodeClient) async throws {
        let invites: [InviteReport] = try await node.get("/shoal/v1/invites")
        if json { return try Terminal.writeJSON(invites) }
        TextTable.invites(invites).lines.forEach(Terminal.writeLine)
    }

    private func takeBack(_ id: String, _ node: NodeClient) async throws {
        let invite: InviteReport = try await node.delete("/shoal/v1/invites/\(percentEncoded(id))")
        if json { return try Terminal.writeJSON(invite) }
        Terminal.writeLine(
            invite.state == .used
                ? "invite \(id) was used already, by node \(invite.usedBy?.rawValue ?? "?"); see shoal forget"
                : "invite \(id) does not work any more")
    }
}
