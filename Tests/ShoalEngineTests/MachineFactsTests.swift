import ShoalCore
import ShoalEngine
import Testing

@Suite("Machine facts")
struct MachineFactsTests {
    @Test("the machine has memory, some of it free, and at least one core")
    func plausible() throws {
        let total = try #require(MachineFacts.memoryTotal)
        let available = try #require(MachineFacts.memoryAvailable)
        #expect(ByteCount.zero < available)
        #expect(available <= total)
        #expect(MachineFacts.coreCount >= 1)
    }

    @Test("this process is resident, and a process that cannot be is unknown")
    func resident() throws {
        let resident = try #require(MachineFacts.residentBytes())
        #expect(resident > ByteCount(1 << 20))
        #expect(MachineFacts.residentBytes(of: Int32.max) == nil)
    }
}
