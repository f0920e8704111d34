import ShoalCore
import ShoalScheduling

extension HeadSimulation {
    /// The head is gone with all it knew; readers take what they were told to another one.
    mutating func replaceHead() {
        execute(scheduler.stop(ShoalError(.linkLost, "the simulation lost the head")))
        let lost = lostClients
        lostClients = []
        for number in clients.indices where clients[number].terminal == nil && !lost.contains(number) {
            violate("request \(number) did not hear that its head is lost")
        }
        scheduler = HeadScheduler(configuration: configuration)
        owners = [:]
        isDraftReady = false
        draftBatches = []
        restore()
        for number in lost { goOn(number) }
    }

    private mutating func goOn(_ number: Int) {
        clients[number].isStarted = false
        clients[number].hasMoved = true
        // The new head does not know how far behind the reader is.
        clients[number].consumedTokenCount = clients[number].toldTokenCount
        var request = clients[number].request
        request.answerSoFar = clients[number].expected.tokens.prefix(clients[number].toldTokenCount).map {
            TokenizedRequest.AnsweredToken(token: $0, piece: ReferenceModel.pieces[Int($0.rawValue)])
        }
        do throws(ShoalError) {
            execute(try scheduler.submit(request, now: now))
        } catch {
            violate("request \(number) is refused by another head: \(error)")
            clients[number].terminal = .failed(error)
        }
    }
}
