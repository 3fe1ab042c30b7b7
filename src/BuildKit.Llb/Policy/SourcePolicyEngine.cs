using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;

namespace BuildKit.Llb;

/// <summary>
/// Decides which sources a build may use, and replaces some by others (spec 02 §13). Policies are asked in order;
/// each must allow a source. A conversion starts everything over with the new source. Not safe for concurrent use.
/// </summary>
public sealed class SourcePolicyEngine : ISourcePolicy
{
    private const int MostRounds = 21;

    private readonly List<(PolicyAction Action, SourceSelector Selector, Update? Updates)[]> _policies = [];

    /// <summary>Makes an engine.</summary>
    /// <param name="policies">The policies, the request's own first.</param>
    /// <exception cref="LlbException">A rule or a selector is missing.</exception>
    public SourcePolicyEngine(params IEnumerable<Policy> policies)
    {
        foreach (var policy in policies)
        {
            _policies.Add([.. policy.Rules.Select(rule => (rule.Action,
                new SourceSelector(rule.Selector ?? throw new LlbException("invalid nil selector in policy")), (Update?)rule.Updates))]);
        }
    }

    /// <summary>Whether there is nothing to decide.</summary>
    public bool IsEmpty => _policies.Count == 0;

    /// <inheritdoc/>
    public bool Evaluate(SourceOp source)
    {
        var changed = false;
        for (var round = 0; Round(source); round++)
        {
            changed = true;
            if (round + 1 == MostRounds)
                throw new LlbException("too many mutations on a single source: too many operations");
        }

        return changed;
    }

    /// <summary>Asks every policy once; stops at the first change.</summary>
    private bool Round(SourceOp source)
    {
        foreach (var rules in _policies)
        {
            var identifier = source.Identifier;
            var denied = false;
            foreach (var (action, selector, updates) in rules)
            {
                if (!Prefixed("error matching source policy", () => selector.Matches(identifier, source.Attrs)))
                    continue;
                switch (action)
                {
                    case PolicyAction.Allow:
                        denied = false;
                        break;
                    case PolicyAction.Deny:
                        denied = true;
                        break;
                    case PolicyAction.Convert:
                        if (Prefixed("error mutating source policy", () => Convert(source, selector, updates)))
                            return true;
                        break;
                    default:
                        throw new LlbException($"source policy: rule {(int)action} {selector.Pattern}: unknown type \"{identifier}\"");
                }
            }

            if (denied)
                throw new LlbException($"source \"{identifier}\" denied by policy: source denied by policy");
        }

        return false;
    }

    private static bool Convert(SourceOp source, SourceSelector selector, Update? updates)
    {
        if (updates is null)
            throw new LlbException("missing destination for convert rule");
        var template = updates.Identifier.Length > 0 ? updates.Identifier : selector.Pattern;
        var identifier = Prefixed("error formatting destination", () => selector.Format(source.Identifier, template));
        var changed = false;
        if (identifier.Length > 0 && identifier != source.Identifier)
        {
            source.Identifier = identifier;
            changed = true;
        }

        foreach (var (key, value) in updates.Attrs)
        {
            if ((source.Attrs.TryGetValue(key, out var current) ? current : "") == value)
                continue;
            source.Attrs[key] = value;
            changed = true;
        }

        return changed;
    }

    private static T Prefixed<T>(string prefix, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (LlbException e)
        {
            throw new LlbException($"{prefix}: {e.Message}", e);
        }
    }
}
