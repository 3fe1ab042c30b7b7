using Xunit.Abstractions;
using Xunit.Sdk;

namespace BuildKit.Tests.Support;

/// <summary>
/// A test that runs once for each case of a golden set; <c>make test-golden</c> runs these alone (trait <c>Data=golden</c>).
/// Where the data is the repository's own, a set without cases is a failure as with every theory; elsewhere it is left out.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
[XunitTestCaseDiscoverer(GoldenDiscoverers.Cases, GoldenDiscoverers.Assembly)]
[TraitDiscoverer(GoldenDiscoverers.Traits, GoldenDiscoverers.Assembly)]
public class GoldenTheoryAttribute : TheoryAttribute, ITraitAttribute;

internal static class GoldenDiscoverers
{
#if INTEGRATION_TESTS
    internal const string Assembly = "BuildKit.IntegrationTests";
#else
    internal const string Assembly = "BuildKit.Tests";
#endif
    internal const string Cases = "BuildKit.Tests.Support.GoldenTheoryDiscoverer";
    internal const string Traits = "BuildKit.Tests.Support.GoldenTraitDiscoverer";
}

/// <summary>Makes the cases of a <see cref="GoldenTheoryAttribute"/>.</summary>
public sealed class GoldenTheoryDiscoverer(IMessageSink diagnostics) : TheoryDiscoverer(diagnostics)
{
    public override IEnumerable<IXunitTestCase> Discover(ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute)
    {
        var cases = base.Discover(discoveryOptions, testMethod, theoryAttribute);
        return Golden.IsElsewhere
            ? [.. cases.Where(c => c is not ExecutionErrorTestCase { ErrorMessage: var message } || !message.StartsWith("No data found for ", StringComparison.Ordinal))]
            : cases;
    }
}

/// <summary>Gives golden tests the trait they are found by.</summary>
public sealed class GoldenTraitDiscoverer : ITraitDiscoverer
{
    public IEnumerable<KeyValuePair<string, string>> GetTraits(IAttributeInfo traitAttribute) => [new("Data", "golden")];
}
