import ArgumentParser
import ShoalCore

/// `shoal forget`.
struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget", abstract: "Remove a node from the cluster for good, or list the members.",
        discussion: "Without a name, lists the members. A forgotten node can only come back as a new one.")

    @OptionGroup var client: ClientOptions

    @Argument(help: "A member's name, its id, or the beginning of its id.")
    var node: String?

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        try await client.withClient { client in
            guard let node else {
                let members: [MemberReport] = try await client.get("/shoal/v1/members")
                if json { return try Terminal.writeJSON(members) }
                return TextTable.members(members).lines.forEach(Terminal.writeLine)
            }
            let member: MemberReport = try await client.delete("/shoal/v1/members/\(percentEncoded(node))")
            if json { return try Terminal.writeJSON(member) }
            Terminal.writeLine("\(member.name), node \(member.id), is no member any more")
        }
    }
}
